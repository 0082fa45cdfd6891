# The CUDA runtime, and what makes Hopper faster where it is installed: cublasLt (bf16 and fp8 matrix products) and cuDNN
# with its header-only frontend (attention). Without them the mma.sync kernels do all the work.
# INKLING_CUDA_ROOTS: further folders with include/ and lib/, such as those of the nvidia-cublas and nvidia-cudnn wheels.
set(INKLING_CUDA_ROOTS "" CACHE STRING "Folders to look for cublasLt, cuDNN and cudnn-frontend in")
add_library(inkling_cuda_libraries INTERFACE)
target_link_libraries(inkling_cuda_libraries INTERFACE CUDA::cudart_static)

find_path(CUBLASLT_INCLUDE cublasLt.h HINTS ${INKLING_CUDA_ROOTS} ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
find_library(CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
             HINTS ${INKLING_CUDA_ROOTS} ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
if(CUBLASLT_INCLUDE AND CUBLASLT_LIBRARY)
  # Behind the toolkit's own headers: a wheel's include folder brings copies of those.
  target_compile_options(inkling_cuda_libraries INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${CUBLASLT_INCLUDE}>")
  target_link_libraries(inkling_cuda_libraries INTERFACE ${CUBLASLT_LIBRARY})
  target_compile_definitions(inkling_cuda_libraries INTERFACE INKLING_CUBLASLT)
endif()

find_path(CUDNN_INCLUDE cudnn.h HINTS ${INKLING_CUDA_ROOTS} PATH_SUFFIXES include)
find_path(CUDNN_FRONTEND_INCLUDE cudnn_frontend.h HINTS ${INKLING_CUDA_ROOTS} PATH_SUFFIXES include)
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${INKLING_CUDA_ROOTS} PATH_SUFFIXES lib lib64)
if(CUDNN_INCLUDE AND CUDNN_FRONTEND_INCLUDE AND CUDNN_LIBRARY)
  target_compile_options(inkling_cuda_libraries INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${CUDNN_INCLUDE}>"
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${CUDNN_FRONTEND_INCLUDE}>")
  target_link_libraries(inkling_cuda_libraries INTERFACE ${CUDNN_LIBRARY})
  target_compile_definitions(inkling_cuda_libraries INTERFACE INKLING_CUDNN)
endif()
message(STATUS "cublasLt: ${CUBLASLT_LIBRARY}; cuDNN: ${CUDNN_LIBRARY}, frontend: ${CUDNN_FRONTEND_INCLUDE}")
