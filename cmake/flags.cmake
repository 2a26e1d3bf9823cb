# Flags for everything (sanitizers must see all of a program) and for the project's own code:
# GORT_WARNINGS, GORT_STRICT (the library and tests), GORT_INCLUDES (what they may include).
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
	set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(GORT_WARNINGS $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wshadow>)
if(GORT_WERROR)
	list(APPEND GORT_WARNINGS $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
set(GORT_STRICT $<$<COMPILE_LANGUAGE:C>:-Wconversion;-Wsign-conversion>)

# Profilers and goroutine dumps walk frame pointers. Landing pads for indirect branches; return
# addresses are not protected: a goroutine may return on another thread than it was called on.
add_compile_options(-fno-omit-frame-pointer)
if(GORT_ARCH STREQUAL "x86_64")
	add_compile_options(-fcf-protection=branch)
else()
	add_compile_options(-mbranch-protection=bti)
endif()
if(GORT_CHECKED)
	add_compile_definitions(GORT_CHECKED=1)
endif()
# Pthread mutexes are watched (src/debug/mutexes.c), where nobody else does so.
if(GORT_CHECKED AND GORT_SANITIZE STREQUAL "none" AND NOT GORT_SIM)
	set(GORT_CHECKS_MUTEXES ON)
	add_compile_definitions(GORT_CHECKS_MUTEXES=1)
endif()

set(fiber none)
set(GORT_NO_UNDEFINED -Wl,--no-undefined)
if(GORT_SANITIZE STREQUAL "address")
	set(fiber asan)
	set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(GORT_SANITIZE STREQUAL "thread")
	set(fiber tsan)
	set(sanitize -fsanitize=thread)
elseif(NOT GORT_SANITIZE STREQUAL "none")
	message(FATAL_ERROR "GORT_SANITIZE is ${GORT_SANITIZE}: none, address or thread")
endif()
if(sanitize)
	add_compile_options(${sanitize})
	add_link_options(${sanitize})
	set(GORT_NO_UNDEFINED "") # clang leaves the sanitizer's names to the program
endif()
if(GORT_VALGRIND)
	if(sanitize)
		message(FATAL_ERROR "GORT_VALGRIND and GORT_SANITIZE exclude each other")
	endif()
	set(fiber valgrind)
endif()

set(GORT_INCLUDES
	${CMAKE_CURRENT_SOURCE_DIR}/include
	${CMAKE_CURRENT_SOURCE_DIR}/src
	${CMAKE_CURRENT_SOURCE_DIR}/src/arch/${GORT_ARCH}
	${CMAKE_CURRENT_SOURCE_DIR}/src/arch/fiber/${fiber})
