/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlsym(RTLD_NEXT) takes locks and may allocate, and an allocator may be what is calling us.  So
 * this walks the list of loaded objects that every linker keeps for debuggers (_r_debug in glibc,
 * _dl_debug_addr in musl) from the object behind our own, and looks each one's hash table up.
 *
 * Symbols of hidden versions (compatibility for old programs) are passed over, as dlsym does.
 * glibc relocates the addresses in an object's dynamic section, musl and the kernel do not: an
 * address below the object's base is an offset.
 */
#include "resolve.h"

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct object { /* the public part of struct link_map */
	uintptr_t base;
	const char *name;
	const Elf64_Dyn *dynamic;
	const struct object *next, *before;
};

struct debug { /* the public part of struct r_debug */
	int version;
	const struct object *first;
};

#define IMPORT extern __attribute__((weak, visibility("default")))
IMPORT struct debug _r_debug;
IMPORT struct debug *_dl_debug_addr;

extern const Elf64_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));

struct symbols {
	uintptr_t base;
	const Elf64_Sym *table;
	const char *strings;
	const uint16_t *versions;
	const uint32_t *gnu_hash, *hash;
};

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static const void *address(uintptr_t base, uintptr_t value)
{
	return (const void *)(value < base ? base + value : value);
}

static struct symbols symbols_of(const struct object *object)
{
	struct symbols it = {.base = object->base};
	for (const Elf64_Dyn *entry = object->dynamic; entry && entry->d_tag != DT_NULL; entry++) {
		const void *at = address(object->base, entry->d_un.d_ptr);
		switch (entry->d_tag) {
		case DT_SYMTAB:
			it.table = at;
			break;
		case DT_STRTAB:
			it.strings = at;
			break;
		case DT_VERSYM:
			it.versions = at;
			break;
		case DT_GNU_HASH:
			it.gnu_hash = at;
			break;
		case DT_HASH:
			it.hash = at;
			break;
		default:
			break;
		}
	}
	return it;
}

static void *symbol_if(const struct symbols *in, uint32_t index, const char *name)
{
	const Elf64_Sym *symbol = &in->table[index];
	bool hidden = in->versions && (in->versions[index] & 0x8000);
	if (hidden || symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 ||
		ELF64_ST_TYPE(symbol->st_info) != STT_FUNC ||
		!same(in->strings + symbol->st_name, name)) {
		return NULL;
	}
	return (void *)(in->base + symbol->st_value);
}

/* A bloom filter of 64-bit words, buckets, and chains whose last entry has the lowest bit set. */
static void *find_gnu(const struct symbols *in, const char *name)
{
	const uint32_t *head = in->gnu_hash;
	uint32_t buckets = head[0], first = head[1], words = head[2], shift = head[3], hash = 5381;
	const uint64_t *bloom = (const uint64_t *)&head[4];
	const uint32_t *bucket = (const uint32_t *)&bloom[words], *chain = bucket + buckets;
	for (const char *c = name; *c; c++) {
		hash = hash * 33 + (uint8_t)*c;
	}
	uint64_t word = bloom[hash / 64 % words];
	if (!(word >> hash % 64 & 1) || !(word >> (hash >> shift) % 64 & 1) || buckets == 0) {
		return NULL;
	}
	for (uint32_t i = bucket[hash % buckets]; i >= first && i != 0; i++) {
		void *found = (chain[i - first] | 1) == (hash | 1) ? symbol_if(in, i, name) : NULL;
		if (found || (chain[i - first] & 1)) {
			return found;
		}
	}
	return NULL;
}

static void *find_sysv(const struct symbols *in, const char *name)
{
	uint32_t buckets = in->hash[0], hash = 0;
	const uint32_t *bucket = &in->hash[2], *chain = bucket + buckets;
	for (const char *c = name; *c; c++) {
		hash = (hash << 4) + (uint8_t)*c;
		hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
	}
	for (uint32_t i = buckets ? bucket[hash % buckets] : 0; i != 0; i = chain[i]) {
		void *found = symbol_if(in, i, name);
		if (found) {
			return found;
		}
	}
	return NULL;
}

static void *find(const struct object *object, const char *name)
{
	struct symbols in = symbols_of(object);
	if (!in.table || !in.strings) {
		return NULL;
	}
	return in.gnu_hash ? find_gnu(&in, name) : in.hash ? find_sysv(&in, name) : NULL;
}

static const struct object *first_object(void)
{
	const struct debug *debug = &_r_debug ? &_r_debug : &_dl_debug_addr ? _dl_debug_addr : NULL;
	return debug ? debug->first : NULL;
}

static const struct object *own_object(void)
{
	const struct object *object = first_object();
	while (object && object->dynamic != _DYNAMIC) {
		object = object->next;
	}
	return object;
}

const char *resolve_own_path(void)
{
	const struct object *object = own_object();
	return object && object->name && object->name[0] == '/' ? object->name : NULL;
}

void *resolve(const char *name)
{
	const struct object *object = own_object();
	void *found = NULL;
	for (object = object ? object->next : NULL; object && !found; object = object->next) {
		found = find(object, name);
	}
	return found;
}

void *resolve_own(const char *name)
{
	const struct object *object = own_object();
	return object ? find(object, name) : NULL;
}

void *resolve_vdso(const char *name)
{
	void *found = NULL;
	for (const struct object *object = first_object(); object && !found;
		object = object->next) {
		found = find(object, name);
	}
	return found;
}
