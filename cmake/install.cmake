# Installed: the program, the shared library with header, pkg-config and CMake
# package, the bundled model, man pages and completion.

install(FILES include/omni.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS omni-shared EXPORT omni-targets)
install(EXPORT omni-targets NAMESPACE omni:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/omni)
configure_package_config_file(cmake/omni-config.cmake.in ${PROJECT_BINARY_DIR}/omni-config.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/omni)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/omni-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/omni-config.cmake ${PROJECT_BINARY_DIR}/omni-config-version.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/omni)
configure_file(cmake/omni.pc.in ${PROJECT_BINARY_DIR}/omni.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/omni.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(OMNI_RPC_SERVER)
    # Not in anybody's path: it obeys whoever connects.
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/ggml-rpc-server DEPENDS ${OMNI_RPC_SERVER}
        COMMAND ${CMAKE_STRIP} -o ${PROJECT_BINARY_DIR}/ggml-rpc-server ${OMNI_RPC_SERVER} VERBATIM)
    add_custom_target(rpc-server ALL DEPENDS ${PROJECT_BINARY_DIR}/ggml-rpc-server)
    install(PROGRAMS ${PROJECT_BINARY_DIR}/ggml-rpc-server DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/llama-omni)
endif()

if(TARGET omni)
    install(TARGETS omni)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/omni.bash COMMAND omni --completion bash > ${PROJECT_BINARY_DIR}/omni.bash
        DEPENDS omni VERBATIM)
    add_custom_target(completion ALL DEPENDS ${PROJECT_BINARY_DIR}/omni.bash)
    install(FILES ${PROJECT_BINARY_DIR}/omni.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME omni)
    if(NOT OMNI_DEB)    # which compresses it
        install(FILES docs/omni.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endif()
    # The pages as they lie in the source, so that their links lead somewhere.
    install(FILES README.md MODEL.md SPEED.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llama-omni)
    install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llama-omni FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
    install(FILES deploy/nginx/omni.conf DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llama-omni/examples RENAME nginx-omni.conf)
    install(DIRECTORY models/tiny DESTINATION ${CMAKE_INSTALL_DATADIR}/llama-omni/models OPTIONAL
        FILES_MATCHING PATTERN "*.gguf" PATTERN "*.wav" PATTERN "*.md" PATTERN "questions.txt")
endif()
