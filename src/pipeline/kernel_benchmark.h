// Times the kernels that the models are made of, one by one, at the widths of an architecture, and says how far each is
// from what the device can do at most. Written once on Ops: the same table of a CPU and of a GPU.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/ceiling.h"
#include "pipeline/plan.h"

namespace inkling {

// One kernel at one size. Work and traffic are what PlanOps counts for the very same call.
struct KernelRow {
  std::string kernel, shape, precision;  // precision: of the backend that ran it
  std::string formats;                   // what its products are made in: "bf16", "int8 + bf16"; empty: it has none
  double seconds = 0;                    // median of warm calls; 0: not measured, see `note`
  double busy_seconds = 0;               // for which the CPU's threads ran, over their number: less than `seconds`
                                         // where others use the machine too, or threads wait; on a GPU the same
  double operations = 0;                 // 2 a multiply-add
  double least_seconds = 0;              // of its products at the device's ceilings; 0: no ceiling is known
  int64_t bytes = 0;                     // least traffic: operands and weights read once, results written once
  int64_t inner_bytes = 0;               // beside that: intermediate results and workspaces, written and read
  std::string note;

  double operations_per_second() const { return seconds > 0 ? operations / seconds : 0; }
  double bytes_per_second() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
  double of_ceiling() const { return seconds > 0 ? least_seconds / seconds : 0; }
  double busy_of_ceiling() const { return busy_seconds > 0 ? least_seconds / busy_seconds : 0; }
  // Traffic of the call as made over the least possible.
  double traffic() const {
    return bytes > 0 ? static_cast<double>(bytes + inner_bytes) / static_cast<double>(bytes) : 0;
  }
};

struct KernelTable {
  std::string device;
  Ceilings ceilings;
  std::vector<KernelRow> rows;
};

// request: model.model names a preset, whose widths are taken; width, height and prompt_tokens give the rows; a
// precision other than automatic is measured alone, else all that the device has. repeats: measurements a row, fewer
// where they take long. A row that does not fit into memory says so. grown: told of the table once the ceilings are
// known, and after every row.
KernelTable run_kernel_benchmark(const PlanRequest& request, int repeats,
                                 const std::function<void(const KernelTable&)>& grown = {});

}  // namespace inkling
