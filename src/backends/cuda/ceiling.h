// What a GPU can do at most, in the formats that its kernels multiply in: mma.sync alone, and where the device has
// faster instructions than that (Hopper), the library's largest product if that is faster.
#pragma once

#include "ops/ceiling.h"

namespace inkling {

class CudaContext;
class CudaModel;

// Takes memory of the arena for a moment: 400 MiB where the library multiplies, else two blocks of at most 256 MiB.
Ceilings measure_cuda_ceilings(CudaContext& context, const CudaModel& model);

}  // namespace inkling
