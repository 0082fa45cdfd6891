// A stand-in for NVIDIA's management library: one GPU whose figures stand in the file that FAKE_NVML names,
// "utilisation-percent free-MiB total-MiB". For tests of what the service does with them on a machine without a GPU.
#include <stdio.h>
#include <stdlib.h>

static int read_figures(unsigned* use, unsigned long long* free, unsigned long long* total) {
  FILE* file = fopen(getenv("FAKE_NVML"), "r");
  int found = file ? fscanf(file, "%u %llu %llu", use, free, total) : 0;
  if (file) fclose(file);
  return found == 3 ? 0 : 999;
}

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  static int only;
  *device = &only;
  return index == 0 ? 0 : 2;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  (void)uuid, (void)device;
  return 2;  // invalid argument: the only GPU has no UUID
}
int nvmlDeviceGetUtilizationRates(void* device, unsigned* rates) {
  unsigned long long free, total;
  rates[1] = 0;
  return device ? read_figures(&rates[0], &free, &total) : 2;
}
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* memory) {
  unsigned use;
  unsigned long long free, total;
  if (!device || read_figures(&use, &free, &total)) return 999;
  memory[0] = total << 20, memory[1] = free << 20, memory[2] = (total - free) << 20;
  return 0;
}
int nvmlDeviceGetTemperature(void* device, int sensor, unsigned* celsius) {
  *celsius = 60;
  return device && sensor == 0 ? 0 : 2;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  *milliwatts = 150000;
  return device ? 0 : 2;
}
