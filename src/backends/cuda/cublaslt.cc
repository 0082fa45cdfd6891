#include "backends/cuda/cublaslt.h"

#include "base/error.h"

#ifdef INKLING_CUBLASLT

#include <cublasLt.h>

#include <map>
#include <tuple>

namespace inkling {

namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw RuntimeError("cublasLt {}: {}", what, cublasLtGetStatusString(status));
}

cudaDataType_t data_type(cuda::Elem e) {
  return e == cuda::Elem::f32 ? CUDA_R_32F : e == cuda::Elem::bf16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
}

// What a plan depends on; pointers are set for every call.
using Key = std::tuple<int64_t, int64_t, int64_t, cuda::Elem, bool, bool, cuda::Elem, int64_t>;

struct Plan {
  cublasLtMatmulDesc_t desc{};
  cublasLtMatrixLayout_t a{}, b{}, d{};
  cublasLtMatmulAlgo_t algo{};
  ~Plan() {
    if (desc != nullptr) cublasLtMatmulDescDestroy(desc);
    for (cublasLtMatrixLayout_t l : {a, b, d})
      if (l != nullptr) cublasLtMatrixLayoutDestroy(l);
  }
};

template <typename T>
void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(value)), "attribute");
}

}  // namespace

struct CublasLt::Impl {
  cublasLtHandle_t handle{};
  std::map<Key, std::unique_ptr<Plan>> plans;

  Plan* plan(const Call& c, bool bias, int64_t workspace_bytes);  // null: no algorithm
};

// Column-major to cublasLt: D [n, m] = W^T x, with W [k, n] and x [k, m].
Plan* CublasLt::Impl::plan(const Call& c, bool bias, int64_t workspace_bytes) {
  const int64_t stride = c.y_stride != 0 ? c.y_stride : c.n;
  const auto [at, fresh] = plans.try_emplace(Key{c.m, c.n, c.k, c.type, bias, c.gelu, c.y_type, stride});
  std::unique_ptr<Plan>& slot = at->second;
  if (!fresh) return slot.get();
  auto p = std::make_unique<Plan>();
  check(cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "descriptor");
  set(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  const cublasLtEpilogue_t epilogue = bias ? (c.gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                                           : (c.gelu ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_DEFAULT);
  set(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (c.type == cuda::Elem::e4m3) {
    set(p->desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
    set(p->desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
    set(p->desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
    // The heuristic finds nothing for scales that are not there.
    set(p->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, c.w_scale);
    set(p->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, c.x_scale);
  }
  if (bias) {
    const cudaDataType_t type = c.y_type == cuda::Elem::f32 && c.type == cuda::Elem::bf16 ? CUDA_R_32F : CUDA_R_16BF;
    set(p->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    const void* any = c.bias16 != nullptr ? c.bias16 : c.bias;  // the heuristic wants to see one
    set(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, any);
  }
  check(cublasLtMatrixLayoutCreate(&p->a, data_type(c.type), c.k, c.n, c.k), "layout");
  check(cublasLtMatrixLayoutCreate(&p->b, data_type(c.type), c.k, c.m, c.k), "layout");
  check(cublasLtMatrixLayoutCreate(&p->d, data_type(c.y_type), c.n, c.m, stride), "layout");
  cublasLtMatmulPreference_t preference{};
  check(cublasLtMatmulPreferenceCreate(&preference), "preference");
  const auto limit = static_cast<size_t>(workspace_bytes);
  check(
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof(limit)),
      "preference");
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, p->desc, p->a, p->b, p->d, p->d, preference, 1, &found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) return nullptr;
  p->algo = found.algo;
  slot = std::move(p);
  return slot.get();
}

CublasLt::CublasLt() : impl_(std::make_unique<Impl>()) { check(cublasLtCreate(&impl_->handle), "handle"); }
CublasLt::~CublasLt() {
  impl_->plans.clear();
  cublasLtDestroy(impl_->handle);
}

bool CublasLt::run(const Call& c, void* workspace, int64_t workspace_bytes, cudaStream_t stream) {
  const bool wide = c.y_type == cuda::Elem::f32 && c.type == cuda::Elem::bf16;
  const void* bias = wide ? static_cast<const void*>(c.bias) : c.bias16;
  Plan* const found = impl_->plan(c, bias != nullptr, workspace_bytes);
  if (found == nullptr) return false;
  Plan& p = *found;
  if (bias != nullptr) set(p.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  if (c.type == cuda::Elem::e4m3) {
    set(p.desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, c.w_scale);
    set(p.desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, c.x_scale);
  }
  const float one = 1.f, zero = 0.f;
  check(cublasLtMatmul(impl_->handle, p.desc, &one, c.w, p.a, c.x, p.b, &zero, c.y, p.d, c.y, p.d, &p.algo, workspace,
                       static_cast<size_t>(workspace_bytes), stream),
        "product");
  return true;
}

}  // namespace inkling

#else

namespace inkling {

struct CublasLt::Impl {};
CublasLt::CublasLt() = default;
CublasLt::~CublasLt() = default;
bool CublasLt::run(const Call&, void*, int64_t, cudaStream_t) { throw RuntimeError("built without cublasLt"); }

}  // namespace inkling

#endif
