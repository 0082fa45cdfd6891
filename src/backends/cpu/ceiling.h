// What this machine's cores can do at most: products on registers alone, and a copy between two blocks of memory.
#pragma once

#include "backends/cpu/int8_kernels.h"
#include "ops/ceiling.h"

namespace inkling {

// On as many threads as parallel work uses. int8: the instructions that the backend multiplies with.
Ceilings measure_cpu_ceilings(kernels::Int8Isa int8);

namespace kernels {

// Loops that do nothing but multiply and add, on one thread. Each returns the operations that it did, 2 a
// multiply-add; 0 where the machine has no such instruction, or none that is faster than f32.
int64_t f32_products_alone(int64_t rounds);
int64_t bf16_products_alone(int64_t rounds);
int64_t int8_products_alone(Int8Isa isa, int64_t rounds);
std::string bf16_instruction();

}  // namespace kernels

}  // namespace inkling
