# Who looks names up (src/io/resolve.c): c-ares, as GORT_CARES says, or getaddrinfo. What is found must
# also link: it may be the build machine's, or another libc's. Sets GORT_HAS_CARES, GORT_RESOLVERS (the
# sources, of which the library takes one: tests have both) and GORT_LEFT_OUT (the other's objects).
set(GORT_HAS_CARES OFF)
if(NOT GORT_CARES STREQUAL "OFF")
	find_path(GORT_CARES_INCLUDE ares.h)
	find_library(GORT_CARES_LIBRARY cares)
	mark_as_advanced(GORT_CARES_INCLUDE GORT_CARES_LIBRARY)
	if(GORT_CARES_INCLUDE AND GORT_CARES_LIBRARY)
		include(CheckCSourceCompiles)
		set(CMAKE_REQUIRED_INCLUDES ${GORT_CARES_INCLUDE})
		set(CMAKE_REQUIRED_LIBRARIES ${GORT_CARES_LIBRARY})
		check_c_source_compiles("
			#include <ares.h>
			int main(void) { ares_getaddrinfo(0, 0, 0, 0, 0, 0); return 0; }" GORT_CARES_WORKS)
		unset(CMAKE_REQUIRED_INCLUDES)
		unset(CMAKE_REQUIRED_LIBRARIES)
		set(GORT_HAS_CARES ${GORT_CARES_WORKS})
	endif()
	if(NOT GORT_HAS_CARES)
		unset(GORT_CARES_WORKS CACHE) # it may be installed later
		if(GORT_CARES STREQUAL "ON")
			message(FATAL_ERROR "GORT_CARES is ON, but there is no c-ares")
		endif()
		message(STATUS "No c-ares: names are looked up by getaddrinfo")
	endif()
endif()

set(GORT_RESOLVERS src/io/resolve_libc.c)
set(GORT_LEFT_OUT "/resolve_ares[.]c[.]o$")
if(GORT_HAS_CARES)
	list(APPEND GORT_RESOLVERS src/io/resolve_ares.c)
	set(GORT_LEFT_OUT "/resolve_libc[.]c[.]o$")
endif()

# By its name, not by its path: a static program takes the static one, and an installed gort may be moved.
function(gort_link_cares target how)
	if(GORT_HAS_CARES)
		get_filename_component(dir ${GORT_CARES_LIBRARY} DIRECTORY)
		target_link_libraries(${target} ${how} cares)
		target_link_directories(${target} ${how} $<BUILD_INTERFACE:${dir}>)
	endif()
endfunction()
