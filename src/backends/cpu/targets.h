// Which instruction sets our SIMD kernels are compiled for: the baseline, AVX2 and AVX-512 on x86; the machine's
// best is chosen at run time. Include before any Highway header.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
