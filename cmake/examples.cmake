# Each examples/<name>.c is a program of its own. One with a file expected/<name>.txt is run by
# ctest as example.<name>, once on one processor and once on all, and its output compared.
find_library(GORT_CRYPTO crypto)
find_path(GORT_CRYPTO_INCLUDE openssl/evp.h)
mark_as_advanced(GORT_CRYPTO GORT_CRYPTO_INCLUDE)

file(GLOB examples CONFIGURE_DEPENDS examples/*.c)
foreach(source ${examples})
	get_filename_component(name ${source} NAME_WE)
	file(STRINGS ${source} crypto REGEX "include <openssl/")
	if(crypto AND NOT (GORT_CRYPTO AND GORT_CRYPTO_INCLUDE))
		message(STATUS "No OpenSSL for this processor: examples/${name} is left out")
		continue()
	endif()
	add_executable(example_${name} ${source})
	set_target_properties(example_${name} PROPERTIES
		OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples)
	target_compile_options(example_${name} PRIVATE ${GORT_WARNINGS})
	target_link_libraries(example_${name} PRIVATE gort_static)
	target_link_options(example_${name} PRIVATE -Wl,--gc-sections)
	if(crypto)
		target_include_directories(example_${name} PRIVATE ${GORT_CRYPTO_INCLUDE})
		target_link_libraries(example_${name} PRIVATE ${GORT_CRYPTO})
	endif()

	set(expected ${CMAKE_CURRENT_SOURCE_DIR}/examples/expected/${name}.txt)
	if(GORT_TESTS AND EXISTS ${expected})
		foreach(procs 1 8)
			add_test(NAME example.${name}@${procs}
				COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/run-example ${expected}
					${GORT_TEST_WRAPPER} $<TARGET_FILE:example_${name}>)
			set_tests_properties(example.${name}@${procs} PROPERTIES
				ENVIRONMENT GORT_MAXPROCS=${procs} TIMEOUT 300 LABELS example)
		endforeach()
	endif()
endforeach()

if(GORT_TESTS AND TARGET example_treesum AND TARGET example_maxrss)
	add_test(NAME example.treesum
		COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/examples/treesum_test.sh
			$<TARGET_FILE:example_maxrss> ${GORT_TEST_WRAPPER} $<TARGET_FILE:example_treesum>)
	set_tests_properties(example.treesum PROPERTIES TIMEOUT 600 LABELS example)
	if(GORT_TEST_SCALE GREATER 1) # a sanitizer's or an emulator's memory is not treesum's
		set_property(TEST example.treesum PROPERTY ENVIRONMENT RSS_LIMIT_KIB=0)
	endif()
endif()
