# tests/unit/test_X.c     what a file promises                         test unit.X
# tests/golden/test_X.c   equality with tests/oracle/X_oracle.py       test golden.X
# tests/torture/test_X.c  failures injected everywhere                 test torture.X
# tests/fuzz/fuzz_X.c     a parser of foreign bytes, over its corpus   test fuzz.X
# tests/e2e/test_X.(sh|py)  the program as a user runs it              test e2e.X
#
# Every oracle is run once as the fixture oracle.X into build/oracle/X; a golden test requires the
# oracle whose name begins its own (speech_decoder_oracle.py for test_speech_decoder_cache.c), a script the one
# that it imports a reader of: "from checkpoint import" wants oracle.checkpoint.
# Environment of every test: OMNI_ORACLE_DIR (build/oracle), OMNI_TEST_MODEL (models/tiny), OMNI (the program),
# OMNI_RPC_SERVER (llama.cpp's, in builds that have it), OMNI_SOURCE_DIR, OMNI_BUILD_DIR.

pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)

# The first python3 that has numpy, torch for the oracles that write checkpoints, and scipy for lab/tiny (fuzzers run
# without the two): a version manager's may come before Debian's and lack them.
set(_modules "numpy, scipy, torch")
if(OMNI_FUZZ)
    set(_modules numpy)
endif()
foreach(_python python3 /usr/bin/python3 /usr/local/bin/python3)
    execute_process(COMMAND ${_python} -c "import ${_modules}" RESULT_VARIABLE _result OUTPUT_QUIET ERROR_QUIET)
    if(_result EQUAL 0)
        set(OMNI_PYTHON ${_python})
        break()
    endif()
endforeach()
if(NOT OMNI_PYTHON)
    message(FATAL_ERROR "no python3 with ${_modules} was found; install python3-numpy, python3-scipy and python3-torch, or use -DOMNI_TESTS=OFF")
endif()

# A node that is new enough; where it is not the machine's own, it comes first in the scripts' path, for npm too.
find_program(_own_node node REQUIRED)
set(OMNI_NODE ${_own_node})
if(NOT OMNI_FUZZ)
    execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/node.sh OUTPUT_VARIABLE OMNI_NODE
        OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
set(_path)
if(NOT OMNI_NODE STREQUAL _own_node)
    get_filename_component(_folder ${OMNI_NODE} DIRECTORY)
    set(_path ENVIRONMENT_MODIFICATION PATH=path_list_prepend:${_folder})
endif()

set(_oracle_dir ${PROJECT_BINARY_DIR}/oracle)
set(_environment OMNI_ORACLE_DIR=${_oracle_dir} OMNI_TEST_MODEL=${PROJECT_SOURCE_DIR}/models/tiny
    OMNI=${PROJECT_BINARY_DIR}/omni OMNI_RPC_SERVER=${OMNI_RPC_SERVER} OMNI_SOURCE_DIR=${PROJECT_SOURCE_DIR} OMNI_BUILD_DIR=${PROJECT_BINARY_DIR}
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
    OMNI_SANITIZE=${OMNI_SANITIZE} PYTHONDONTWRITEBYTECODE=1)

file(GLOB _oracles CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/tests/oracle tests/oracle/*_oracle.py)
list(TRANSFORM _oracles REPLACE "_oracle\\.py$" "" OUTPUT_VARIABLE _oracle_names)
foreach(_name ${_oracle_names})
    add_test(NAME oracle.${_name} COMMAND ${OMNI_PYTHON} ${PROJECT_SOURCE_DIR}/tests/oracle/${_name}_oracle.py
        ${_oracle_dir}/${_name})
    # One thread: on toys, and on busy machines, numpy loses time with more.
    set_tests_properties(oracle.${_name} PROPERTIES FIXTURES_SETUP oracle.${_name} TIMEOUT 1200
        ENVIRONMENT "${_environment};OPENBLAS_NUM_THREADS=1;OMP_NUM_THREADS=1")
endforeach()

# The oracle with the longest name that begins ${name}, if any, is required by test.
function(omni_require_oracle test name)
    set(_best)
    string(LENGTH "${_best}" _best_length)
    foreach(_oracle ${_oracle_names})
        string(LENGTH ${_oracle} _length)
        string(FIND ${name} ${_oracle} _at)
        if(_at EQUAL 0 AND _length GREATER _best_length)
            set(_best ${_oracle})
            set(_best_length ${_length})
        endif()
    endforeach()
    if(_best)
        set_tests_properties(${test} PROPERTIES FIXTURES_REQUIRED oracle.${_best})
    endif()
endfunction()

# A test links the rooms that it, or a header of the tests that it uses, includes something of.
function(omni_link_rooms target source)
    set(_files ${source})
    file(STRINGS ${source} _headers REGEX "#include \"(unit|fuzz|golden|torture|bench)/")
    foreach(_header ${_headers})
        string(REGEX REPLACE ".*\"(.*)\".*" "tests/\\1" _header ${_header})
        list(APPEND _files ${_header})
    endforeach()
    set(_rooms omni-base)
    foreach(_file ${_files})
        file(STRINGS ${_file} _core REGEX "#include [<\"](core/|omni\\.h)")
        file(STRINGS ${_file} _stage REGEX "#include \"stage/")
        file(STRINGS ${_file} _lab REGEX "#include \"(convert|pull)/")
        if(_lab)
            set(_rooms omni-lab)
            break()
        elseif(_core)
            set(_rooms omni-static)
            break()
        elseif(_stage)
            set(_rooms omni-stage)
        endif()
    endforeach()
    target_link_libraries(${target} PRIVATE ${_rooms})
endfunction()

foreach(_room unit golden torture)
    file(GLOB _sources CONFIGURE_DEPENDS tests/${_room}/test_*.c)
    if(NOT OMNI_TALK)
        list(FILTER _sources EXCLUDE REGEX "/test_talk")
    endif()
    foreach(_source ${_sources})
        get_filename_component(_name ${_source} NAME_WE)
        string(REGEX REPLACE "^test_" "" _name ${_name})
        set(_target ${_room}-${_name})
        add_executable(${_target} ${_source})
        omni_link_rooms(${_target} ${_source})
        target_link_libraries(${_target} PRIVATE PkgConfig::cmocka)
        file(STRINGS ${_source} _cli REGEX "apps/(cli|server)/")
        if(_cli)
            target_link_libraries(${_target} PRIVATE cli-objects omni-server omni-lab omni-static)
        endif()
        target_include_directories(${_target} PRIVATE tests)
        set_target_properties(${_target} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY tests)
        add_test(NAME ${_room}.${_name} COMMAND ${_target})
        set_tests_properties(${_room}.${_name} PROPERTIES ENVIRONMENT "${_environment}" TIMEOUT 900)
        omni_require_oracle(${_room}.${_name} ${_name})
    endforeach()
endforeach()

file(GLOB _scripts CONFIGURE_DEPENDS tests/e2e/test_*.sh tests/e2e/test_*.py)
if(NOT OMNI_TALK)
    list(FILTER _scripts EXCLUDE REGEX "/test_talk")
endif()
if(NOT OMNI_RPC_SERVER)
    list(FILTER _scripts EXCLUDE REGEX "/test_rpc")
endif()
if(OMNI_SANITIZE OR OMNI_FUZZ)
    list(FILTER _scripts EXCLUDE REGEX "/test_install")     # a stranger has no sanitizer
endif()
foreach(_script ${_scripts})
    get_filename_component(_name ${_script} NAME_WE)
    string(REGEX REPLACE "^test_" "" _name ${_name})
    if(_script MATCHES "\\.py$")
        add_test(NAME e2e.${_name} COMMAND ${OMNI_PYTHON} ${_script})
    else()
        add_test(NAME e2e.${_name} COMMAND sh ${_script})
    endif()
    set_tests_properties(e2e.${_name} PROPERTIES ENVIRONMENT "${_environment}" TIMEOUT 900 ${_path})
    file(STRINGS ${_script} _reader REGEX "^from checkpoint import")
    if(_reader)
        set(_name_of_oracle checkpoint)
    else()
        set(_name_of_oracle ${_name})
    endif()
    omni_require_oracle(e2e.${_name} ${_name_of_oracle})
endforeach()

# tests/web/X.test.mjs: the page's logic, in node                        test web.X
file(GLOB _scripts CONFIGURE_DEPENDS tests/web/*.test.mjs)
foreach(_script ${_scripts})
    get_filename_component(_name ${_script} NAME_WE)
    add_test(NAME web.${_name} COMMAND ${OMNI_NODE} --test ${_script})
    set_tests_properties(web.${_name} PROPERTIES TIMEOUT 120)
endforeach()

add_test(NAME house.rules COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-includes.sh)

# tests/fuzz/fuzz_X.c: with OMNI_FUZZ the fuzzer fuzz-X; always the test fuzz.X, which replays the corpus.
add_custom_target(fuzzers)
file(GLOB _sources CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(_source ${_sources})
    get_filename_component(_name ${_source} NAME_WE)
    string(REGEX REPLACE "^fuzz_" "" _name ${_name})
    set(_programs replay-${_name})
    add_executable(replay-${_name} ${_source} tests/fuzz/replay.c)
    add_test(NAME fuzz.${_name} COMMAND replay-${_name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${_name})
    set_tests_properties(fuzz.${_name} PROPERTIES ENVIRONMENT "${_environment}" TIMEOUT 300)
    if(OMNI_FUZZ)
        list(APPEND _programs fuzz-${_name})
        add_executable(fuzz-${_name} ${_source})
        target_link_options(fuzz-${_name} PRIVATE -fsanitize=fuzzer)
        add_dependencies(fuzzers fuzz-${_name})
    endif()
    file(STRINGS ${_source} _cli REGEX "apps/(cli|server)/")
    foreach(_program ${_programs})
        if(_cli)
            target_link_libraries(${_program} PRIVATE cli-objects omni-server omni-lab)
        else()
            omni_link_rooms(${_program} ${_source})
        endif()
        target_include_directories(${_program} PRIVATE tests)
        set_target_properties(${_program} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY fuzz)
    endforeach()
endforeach()

# Benchmarks are built on request: cmake --build build --target benches.
add_custom_target(benches)
file(GLOB _sources CONFIGURE_DEPENDS tests/bench/bench_*.c)
foreach(_source ${_sources})
    get_filename_component(_name ${_source} NAME_WE)
    add_executable(${_name} EXCLUDE_FROM_ALL ${_source})
    omni_link_rooms(${_name} ${_source})
    target_include_directories(${_name} PRIVATE tests)
    set_target_properties(${_name} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY bench)
    add_dependencies(benches ${_name})
endforeach()
