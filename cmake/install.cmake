# What `cmake --install` puts where, and how others find it: pkg-config and find_package(gort).
include(CMakePackageConfigHelpers)

install(TARGETS gort gort_static EXPORT gort
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/gort.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/gort)
install(EXPORT gort NAMESPACE gort:: FILE gortTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(packaging/gortConfig.cmake.in gortConfig.cmake
	INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(gortConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/gortConfig.cmake ${PROJECT_BINARY_DIR}/gortConfigVersion.cmake
	DESTINATION ${package_dir})

# A distribution may give absolute directories; pkg-config's prefix then does not enter.
foreach(dir LIBDIR INCLUDEDIR)
	if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
		set(PC_${dir} "${CMAKE_INSTALL_${dir}}")
	else()
		set(PC_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
	endif()
endforeach()
set(PC_REQUIRES_PRIVATE "")
if(GORT_HAS_CARES)
	set(PC_REQUIRES_PRIVATE libcares)
endif()
# The prefix as seen from where the .pc file lies: an installed tree may be moved.
file(RELATIVE_PATH PC_PREFIX
	"${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
configure_file(packaging/gort.pc.in gort.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gort.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
