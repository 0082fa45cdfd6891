# One folder of src/ is one library target named after its path ("backends/cpu" -> inkling_backends_cpu).
# It may link only what lies below it on the ladder; tools/check_includes.py checks the includes.
function(inkling_library folder)
  string(REPLACE "/" "_" name ${folder})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.cc)
  if(NOT sources)  # headers only, for now
    add_library(inkling_${name} INTERFACE)
    target_include_directories(inkling_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(inkling_${name} INTERFACE inkling_options ${ARGN})
    return()
  endif()
  add_library(inkling_${name} STATIC ${sources})
  target_include_directories(inkling_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(inkling_${name} PUBLIC inkling_options ${ARGN})
endfunction()

# One folder of tests/ is one GoogleTest program.
function(inkling_test folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cc)
  if(NOT sources)
    return()
  endif()
  string(REPLACE "/" "_" name ${folder})
  add_executable(test_${name} ${sources})
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(test_${name} PRIVATE INKLING_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(test_${name} PRIVATE GTest::gtest GTest::gtest_main ${ARGN})
  add_test(NAME ${name} COMMAND test_${name})
  # Threads that spin between parallel regions starve each other on a machine that does other work too.
  set_tests_properties(${name} PROPERTIES ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

# One file of fuzz/ is one libFuzzer program (clang), built with the fuzz preset only.
function(inkling_fuzz name)
  add_executable(fuzz_${name} ${CMAKE_SOURCE_DIR}/fuzz/fuzz_${name}.cc)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(fuzz_${name} PRIVATE ${ARGN})
endfunction()
