// The one thread pool of the program. It is OpenMP's, because oneDNN runs on that pool too: a second pool
// beside it would oversubscribe the cores.
#pragma once

#include <cstdint>
#include <functional>

namespace inkling {

// Number of threads that parallel work uses. Default: OMP_NUM_THREADS, else the cores of the machine.
int thread_count();
void set_thread_count(int count);

// Calls body(begin, end) on disjoint ranges that cover [0, count), each of at least `grain` items, on the
// pool. Ranges depend on count, grain and thread_count() only. The first exception thrown by a body is
// rethrown here after all ranges have ended.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace inkling
