/*
 * symbols.c - names for addresses, from the files' own symbol tables. See image.h.
 *
 * .symtab if there is one, else .dynsym. Not dladdr: it takes the loader's lock, and knows no static
 * function. A file is not trusted: whatever it says is held against its size.
 *
 * Callers: anyone who has a struct images, signal handlers, too.
 */
#include "debug/image.h"

#include <elf.h>
#include <string.h>

static bool part(const struct image *i, const Elf64_Shdr *s, struct part *p)
{
	if (s->sh_type == SHT_NOBITS || s->sh_offset > i->size ||
	    s->sh_size > i->size - s->sh_offset)
		return false;
	*p = (struct part){ i->file + s->sh_offset, s->sh_size, s->sh_addr };
	return true;
}

/* The header and what it says of n things of this size at offset: are they there, aligned? */
static bool holds(const struct image *i, uint64_t offset, uint64_t n, size_t size)
{
	return offset <= i->size && offset % 8 == 0 && n <= (i->size - offset) / size;
}

static bool named(const struct part *names, const Elf64_Shdr *s, const char *name)
{
	size_t size = strlen(name) + 1;

	return s->sh_name < names->size && size <= names->size - s->sh_name &&
		memcmp(names->at + s->sh_name, name, size) == 0;
}

static void sections(struct image *i, const Elf64_Ehdr *e)
{
	const Elf64_Shdr *s = (const Elf64_Shdr *)(const void *)(i->file + e->e_shoff);
	struct part names = { 0 };
	uint32_t table = 0;

	if (e->e_shentsize != sizeof *s || !holds(i, e->e_shoff, e->e_shnum, sizeof *s))
		return;
	if (e->e_shstrndx < e->e_shnum)
		part(i, &s[e->e_shstrndx], &names);
	for (uint32_t n = 0; n < e->e_shnum; n++) {
		if ((s[n].sh_type == SHT_SYMTAB || (s[n].sh_type == SHT_DYNSYM && !table)) &&
		    s[n].sh_link < e->e_shnum && s[n].sh_offset % 8 == 0)
			table = n;
		if (named(&names, &s[n], ".eh_frame"))
			part(i, &s[n], &i->frame);
	}
	if (table &&
	    !(part(i, &s[table], &i->symbols) && part(i, &s[s[table].sh_link], &i->strings)))
		i->symbols.size = 0;
}

static const Elf64_Phdr *segments(const struct image *i, uint32_t *count)
{
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)(const void *)i->file;

	*count = e->e_phnum;
	return (const Elf64_Phdr *)(const void *)(i->file + e->e_phoff);
}

const uint8_t *gort__image_at(const struct image *i, uint64_t address, size_t size)
{
	uint32_t count;
	const Elf64_Phdr *p = segments(i, &count);

	for (uint32_t n = 0; n < count; n++) {
		uint64_t into = address - p[n].p_vaddr;

		if (p[n].p_type == PT_LOAD && address >= p[n].p_vaddr && into <= p[n].p_filesz &&
		    size <= p[n].p_filesz - into && p[n].p_offset <= i->size &&
		    into + size <= i->size - p[n].p_offset)
			return i->file + p[n].p_offset + into;
	}
	return NULL;
}

/* Without a segment that has been mapped here it is none of what is read. */
static bool fill(struct image *i, const struct os_image *o)
{
	const Elf64_Ehdr *e = o->file;
	const Elf64_Phdr *p;
	uint32_t count;
	bool found = false;

	*i = (struct image){ .start = o->start, .end = o->end, .name = o->name };
	if (!e || o->size < sizeof *e || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 ||
	    e->e_ident[EI_CLASS] != ELFCLASS64)
		return false;
	i->file = o->file;
	i->size = o->size;
	if (e->e_phentsize != sizeof *p || !holds(i, e->e_phoff, e->e_phnum, sizeof *p))
		return false;
	p = segments(i, &count);
	for (uint32_t n = 0; n < count; n++) {
		uint64_t begins = p[n].p_offset & ~(uint64_t)(os_page_size() - 1);

		if (p[n].p_type == PT_LOAD && p[n].p_flags & PF_X && o->offset >= begins &&
		    o->offset < p[n].p_offset + p[n].p_filesz) {
			i->bias = o->start - o->offset + p[n].p_offset - p[n].p_vaddr;
			found = true;
		}
	}
	for (uint32_t n = 0; found && n < count; n++)
		if (p[n].p_type == PT_GNU_EH_FRAME) {
			i->frame_index.at = gort__image_at(i, p[n].p_vaddr, p[n].p_filesz);
			i->frame_index.size = i->frame_index.at ? p[n].p_filesz : 0;
			i->frame_index.address = p[n].p_vaddr;
		}
	if (found)
		sections(i, e);
	return found;
}

void gort__images_open(struct images *all)
{
	all->count = os_images_open(all->opened, IMAGES_MOST);
	for (int n = 0; n < all->count; n++)
		if (!fill(&all->images[n], &all->opened[n]))
			all->images[n].file = NULL;
}

void gort__images_close(struct images *all)
{
	os_images_close(all->opened, all->count);
}

const struct image *gort__image_of(const struct images *all, uintptr_t pc)
{
	for (int n = 0; n < all->count; n++)
		if (pc >= all->images[n].start && pc < all->images[n].end)
			return &all->images[n];
	return NULL;
}

static bool is_code(const Elf64_Sym *s)
{
	uint32_t type = ELF64_ST_TYPE(s->st_info);

	return s->st_shndx != SHN_UNDEF && s->st_shndx < SHN_LORESERVE && s->st_value &&
		(type == STT_FUNC || type == STT_GNU_IFUNC);
}

/* The last to begin before the address, if it reaches so far; one without a size (assembly's)
 * reaches to the next. */
static const Elf64_Sym *find(const struct image *i, uint64_t address)
{
	const Elf64_Sym *s = (const Elf64_Sym *)(const void *)i->symbols.at, *best = NULL;

	for (size_t n = 0; n < i->symbols.size / sizeof *s; n++)
		if (is_code(&s[n]) && s[n].st_value <= address &&
		    (!best || s[n].st_value > best->st_value ||
		     (s[n].st_value == best->st_value && s[n].st_size > best->st_size)))
			best = &s[n];
	if (best && best->st_size && address >= best->st_value + best->st_size)
		return NULL;
	return best;
}

const struct symbol *gort__symbol(struct images *all, uintptr_t pc)
{
	const struct image *i = gort__image_of(all, pc);
	struct symbol *known = &all->symbols[(pc ^ pc >> 9) % SYMBOLS];
	const Elf64_Sym *s;

	if (known->pc == pc)
		return known;
	*known = (struct symbol){ .pc = pc };
	s = i && i->file ? find(i, pc - i->bias) : NULL;
	if (s && s->st_name < i->strings.size) {
		known->name = (const char *)i->strings.at + s->st_name;
		known->length = strnlen(known->name, i->strings.size - s->st_name);
		known->offset = pc - i->bias - s->st_value;
	}
	return known;
}
