# Finds llama.cpp: the pinned one (built by scripts/llama.sh, kept in the user's
# cache) or an installed one. Defines the target omni::llama.

set(OMNI_LLAMA_VERSION 0.5)     # the API that lm.c, graph.c and weights.c are written for

if(OMNI_LLAMA STREQUAL "bundled")
    set(_arguments)
    set(_compilers)
    if(OMNI_CUDA)
        list(APPEND _arguments --cuda)
    endif()
    if(NOT OMNI_NATIVE)
        list(APPEND _arguments --portable)
    endif()
    # undefined: only our own code is instrumented; the others need every thread and every
    # allocation of the process to be seen, by the same compiler's runtime.
    if(OMNI_SANITIZE MATCHES "^(address|thread)$")
        list(APPEND _arguments --sanitize ${OMNI_SANITIZE})
        set(_compilers CC=${CMAKE_C_COMPILER} CXX=${CMAKE_CXX_COMPILER})
    elseif(OMNI_RPC)
        list(APPEND _arguments --rpc)
    endif()
    execute_process(COMMAND ${CMAKE_COMMAND} -E env ${_compilers} ${PROJECT_SOURCE_DIR}/scripts/llama.sh ${_arguments}
        OUTPUT_VARIABLE _prefix OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _result)
    if(NOT _result EQUAL 0)
        message(FATAL_ERROR "llama.cpp could not be obtained; see above, or use -DOMNI_LLAMA=system")
    endif()
    # An installation found earlier under other flags must not stick.
    foreach(_variable llama_DIR ggml_DIR llama_LIBRARY GGML_LIBRARY GGML_BASE_LIBRARY GGML_CPU_LIBRARY GGML_CUDA_LIBRARY
            GGML_RPC_LIBRARY OMNI_RPC_SERVER)
        unset(${_variable} CACHE)
    endforeach()
    find_package(llama REQUIRED CONFIG NO_DEFAULT_PATH PATHS ${_prefix}/lib/cmake ${_prefix}/lib64/cmake)
    find_program(OMNI_RPC_SERVER ggml-rpc-server NO_DEFAULT_PATH PATHS ${_prefix}/bin)
elseif(OMNI_LLAMA STREQUAL "system")
    find_package(llama CONFIG)
    if(NOT llama_FOUND)
        pkg_check_modules(llama REQUIRED IMPORTED_TARGET llama ggml)
    endif()
    string(REGEX MATCH "^[0-9]+\\.[0-9]+" _found "${LLAMA_VERSION}${llama_llama_VERSION}")
    if(NOT _found VERSION_EQUAL OMNI_LLAMA_VERSION)
        message(FATAL_ERROR "found llama.cpp ${LLAMA_VERSION}${llama_llama_VERSION}, wanted ${OMNI_LLAMA_VERSION}; "
            "use -DOMNI_LLAMA=bundled")
    endif()
else()
    message(FATAL_ERROR "OMNI_LLAMA is ${OMNI_LLAMA}, wanted bundled or system")
endif()

add_library(omni-llama INTERFACE)
if(TARGET llama)
    target_link_libraries(omni-llama INTERFACE llama ggml::ggml ggml::ggml-base)
else()
    target_link_libraries(omni-llama INTERFACE PkgConfig::llama)
endif()
