#include "ops/ops.h"

namespace inkling {

QKV Ops::qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
             const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) {
  QKV result;
  result.q = head_norm_rope(linear(x, wq), gamma_q, eps, rope, heads);
  result.k = head_norm_rope(linear(x, wk), gamma_k, eps, rope, kv_heads);
  result.v = linear(x, wv);
  return result;
}

}  // namespace inkling
