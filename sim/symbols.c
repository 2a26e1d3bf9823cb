/*
 * symbols.c - names of the program's own functions and variables, from its symbol table. The
 * program is linked at a constant address, so that a symbol's value is its address. Read when a
 * report is printed, and not before.
 */
#include "engine.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *names;
static const Elf64_Sym *symbols;
static size_t count;

static bool load(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;
	const char *file;
	const Elf64_Ehdr *head;
	const Elf64_Shdr *sections;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (file == MAP_FAILED)
		return false;
	head = (const Elf64_Ehdr *)file;
	sections = (const Elf64_Shdr *)(file + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		symbols = (const Elf64_Sym *)(file + sections[i].sh_offset);
		count = sections[i].sh_size / sizeof(Elf64_Sym);
		names = file + sections[sections[i].sh_link].sh_offset;
	}
	return count != 0;
}

const char *symbol_name(uintptr_t p, char *text, size_t size)
{
	if (!count && !load())
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const Elf64_Sym *s = &symbols[i];
		unsigned type = ELF64_ST_TYPE(s->st_info);

		if ((type != STT_FUNC && type != STT_OBJECT) || p - s->st_value >= s->st_size)
			continue;
		if (p == s->st_value)
			snprintf(text, size, "%s", names + s->st_name);
		else
			snprintf(text, size, "%s+0x%zx", names + s->st_name,
				 (size_t)(p - s->st_value));
		return text;
	}
	return NULL;
}
