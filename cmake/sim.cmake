# The simulator (docs/SIMULATOR.md): gort's own sources with sim/ in front of src/, so that
# base/atomic.h, cpu.h and fiber.h are sim's, and sim/os.c in place of src/os/linux.
set(SIM_OBJECTS ${GORT_SOURCES})
list(FILTER SIM_OBJECTS EXCLUDE REGEX
	"^src/os/|^src/io/|^src/arch/(self|text_begin|text_end)[.]c$|^src/debug/(dump|symbols|unwind)[.]c$")
file(GLOB SIM_SCENARIOS CONFIGURE_DEPENDS tests/sim/*.c)
file(GLOB SIM_ENGINE CONFIGURE_DEPENDS sim/*.c)

# Where a saved context keeps its frame pointer, in words (src/arch/<arch>/switch.S).
set(frame_word 6)
if(GORT_ARCH STREQUAL "aarch64")
	set(frame_word 20)
endif()
# AddressSanitizer's frames are large. The engine is not instrumented: it looks at all there is.
set(sanitize none)
set(stacks SIM_STACK_KIB=128 SIM_STACK_MIN=16384)
if(GORT_SANITIZE STREQUAL "address")
	set(sanitize asan)
	set(stacks SIM_STACK_KIB=512 SIM_STACK_MIN=65536)
endif()
set(SIM_DEFINITIONS _GNU_SOURCE GORT_CHECKED=1 SIM_MAX_THREADS=32u
	SIM_FRAME_WORD=${frame_word} ${stacks})
# Addresses must be the same in each run: no position-independent code. Shadowing is checked in all
# other builds; here a macro's variable shadows another's where one is an argument of the other.
set(SIM_OPTIONS ${GORT_WARNINGS} ${GORT_STRICT} -Wno-shadow -Wno-ignored-qualifiers -fno-pie -fno-pic
	-fmacro-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}/=)

# Thread-locals become plain variables that the engine swaps; sections get names of their own, so
# that the engine can put back all of gort's and the scenarios' variables.
add_library(sim_objects OBJECT EXCLUDE_FROM_ALL ${SIM_OBJECTS} ${SIM_SCENARIOS})
target_compile_definitions(sim_objects PRIVATE ${SIM_DEFINITIONS}
	"__thread=__attribute__((section(\"sim_locals\")))")
add_library(sim_engine OBJECT EXCLUDE_FROM_ALL ${SIM_ENGINE})
target_compile_definitions(sim_engine PRIVATE ${SIM_DEFINITIONS})
foreach(part sim_objects sim_engine)
	target_include_directories(${part} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/sim
		${CMAKE_CURRENT_SOURCE_DIR}/sim/sanitize/${sanitize}
		${CMAKE_CURRENT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR}/src
		${CMAKE_CURRENT_SOURCE_DIR}/src/arch/${GORT_ARCH})
	target_compile_options(${part} PRIVATE ${SIM_OPTIONS})
endforeach()
if(NOT sanitize STREQUAL "none")
	target_compile_options(sim_engine PRIVATE -fno-sanitize=all)
endif()

set(sim_whole ${CMAKE_CURRENT_BINARY_DIR}/sim_whole.o)
add_custom_command(OUTPUT ${sim_whole}
	COMMAND ${CMAKE_LINKER} -r -o ${sim_whole} $<TARGET_OBJECTS:sim_objects>
	COMMAND ${CMAKE_OBJCOPY} --rename-section .data=sim_data --rename-section .bss=sim_bss ${sim_whole}
	DEPENDS sim_objects $<TARGET_OBJECTS:sim_objects>
	COMMAND_EXPAND_LISTS VERBATIM)
set_source_files_properties(${sim_whole} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_executable(sim EXCLUDE_FROM_ALL $<TARGET_OBJECTS:sim_engine> ${sim_whole})
set_target_properties(sim PROPERTIES LINKER_LANGUAGE C)
target_link_options(sim PRIVATE -no-pie)
