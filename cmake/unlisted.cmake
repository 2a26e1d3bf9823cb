# A source that no list names would silently be left out.
file(GLOB_RECURSE found CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} src/*.c src/*.S)
list(FILTER found EXCLUDE REGEX "^src/arch/(x86_64|aarch64)/")
file(GLOB own CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
	src/arch/${GORT_ARCH}/*.c src/arch/${GORT_ARCH}/*.S)
list(APPEND found ${own})
# In some builds.
list(REMOVE_ITEM found ${GORT_SOURCES} src/os/linux/mutexes.c src/debug/mutexes.c src/io/resolve_ares.c)
if(found)
	list(JOIN found ", " found)
	message(FATAL_ERROR "Not in GORT_SOURCES of CMakeLists.txt: ${found}")
endif()
