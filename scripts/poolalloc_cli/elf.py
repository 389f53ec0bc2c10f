"""What an ELF file says of itself, by pyelftools.

Always holds: the file is read, not run.
"""
import functools

from .places import need


class Elf:
    """An ELF file; `path` must be one (is_elf)."""

    def __init__(self, path):
        need("elftools", "python3-pyelftools")
        from elftools.elf.elffile import ELFFile
        self.path = path
        self.file = open(path, "rb")
        self.elf = ELFFile(self.file)
        self.bits = self.elf.elfclass
        self.machine = self.elf.get_machine_arch()

    @functools.cached_property
    def interpreter(self):
        """The path of the dynamic loader; None: it is linked statically, or a library."""
        for segment in self.elf.iter_segments():
            if segment.header.p_type == "PT_INTERP":
                return segment.get_interp_name()
        return None

    @functools.cached_property
    def dynamic(self):
        return next((segment for segment in self.elf.iter_segments() if segment.header.p_type == "PT_DYNAMIC"), None)

    @functools.cached_property
    def needed(self):
        """Names of the libraries that it asks for, in their order."""
        if self.dynamic is None:
            return []
        return [tag.needed for tag in self.dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]

    @functools.cached_property
    def symbols(self):
        """Dynamic symbols by name: True if the file defines them."""
        if self.dynamic is None:
            return {}
        return {symbol.name: symbol["st_shndx"] != "SHN_UNDEF" for symbol in self.dynamic.iter_symbols() if symbol.name}

    def address_of(self, name):
        """The address of a dynamic symbol, from the file's start; None: there is none."""
        if self.dynamic is None:
            return None
        return next((symbol["st_value"] for symbol in self.dynamic.iter_symbols() if symbol.name == name), None)

    @functools.cached_property
    def functions(self):
        """(address, size, name) of each function that the file names, by address."""
        tables = [section for section in self.elf.iter_sections() if section.header.sh_type in ("SHT_SYMTAB", "SHT_DYNSYM")]
        found = {}
        for table in tables:
            for symbol in table.iter_symbols():
                if symbol["st_info"]["type"] in ("STT_FUNC", "STT_GNU_IFUNC") and symbol["st_shndx"] != "SHN_UNDEF":
                    found[symbol["st_value"]] = (symbol["st_value"], symbol["st_size"], symbol.name)
        return sorted(found.values())

    def virtual_address(self, offset):
        """The address of what is at an offset in the file; None: it is not loaded."""
        for segment in self.elf.iter_segments():
            head = segment.header
            if head.p_type == "PT_LOAD" and head.p_offset <= offset < head.p_offset + head.p_filesz:
                return offset - head.p_offset + head.p_vaddr
        return None

    @functools.cached_property
    def sections(self):
        return {section.name for section in self.elf.iter_sections()}

    def contains(self, text):
        """Whether the file has these bytes anywhere."""
        self.file.seek(0)
        return text in self.file.read()


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"
