# cmake -DCOMMAND=... -DEXPECTED=FILE -P compare.cmake: the command must exit with 0 and print
# what FILE holds.
execute_process(COMMAND ${COMMAND} OUTPUT_VARIABLE printed RESULT_VARIABLE status)
file(READ ${EXPECTED} expected)
if(NOT status EQUAL 0)
	message(FATAL_ERROR "exit status ${status}")
endif()
if(NOT printed STREQUAL expected)
	message(FATAL_ERROR "printed:\n${printed}\nexpected:\n${expected}")
endif()
