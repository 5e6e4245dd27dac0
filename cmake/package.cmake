# The Debian package (make deb, which sets OMNI_DEB): what `make install` puts in place, and what a service needs.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME llama-omni)
set(CPACK_PACKAGE_VENDOR "the llama-omni.c authors")
set(CPACK_PACKAGE_CONTACT "llama-omni.c authors <packages@llama-omni.invalid>" CACHE STRING "Maintainer of the package")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION sound)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "speech in, text and speech out: program, server, library")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "LLaMA-Omni models answer spoken questions in text and speech, both while the
model is still thinking. This package has the program omni (ask, talk, serve,
convert), the service omni serve (not enabled at first), libomni with its
header, and a small model that works out of the box.

It needs a CPU with AVX2 (x86-64-v3, 2013 and later) or a 64-bit Arm.")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(_debian ${PROJECT_SOURCE_DIR}/deploy/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${_debian}/postinst ${_debian}/prerm ${_debian}/postrm ${_debian}/conffiles
    ${_debian}/triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# As Debian wants them: compressed, and without the time of the build.
function(omni_compressed source name)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/${name} DEPENDS ${source}
        COMMAND gzip -9nc ${source} > ${PROJECT_BINARY_DIR}/${name} VERBATIM)
    list(APPEND _compressed ${PROJECT_BINARY_DIR}/${name})
    set(_compressed ${_compressed} PARENT_SCOPE)
endfunction()
configure_file(${_debian}/changelog ${PROJECT_BINARY_DIR}/changelog @ONLY)
omni_compressed(${PROJECT_BINARY_DIR}/changelog changelog.Debian.gz)
omni_compressed(${PROJECT_SOURCE_DIR}/docs/omni.1 omni.1.gz)
add_custom_target(compressed ALL DEPENDS ${_compressed})

install(FILES ${PROJECT_BINARY_DIR}/omni.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${_debian}/copyright ${PROJECT_BINARY_DIR}/changelog.Debian.gz DESTINATION share/doc/llama-omni)
install(FILES deploy/systemd/omni.service DESTINATION /lib/systemd/system)
install(FILES deploy/systemd/omni.default DESTINATION /etc/default RENAME omni)
include(CPack)
