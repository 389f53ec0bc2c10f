"""Builds poolalloc for Conan 2, from the checkout that this file is in: `conan create scripts/packaging/conan`."""
import os

from conan import ConanFile
from conan.tools.files import copy
from conan.tools.meson import Meson, MesonToolchain


class Poolalloc(ConanFile):
    name = "poolalloc"
    version = "0.1.0"
    license = "MIT"
    description = "malloc replacement backed by per-thread pools"
    package_type = "shared-library"
    settings = "os", "arch", "compiler", "build_type"
    tool_requires = "meson/[>=1.0]"

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch not in ("x86_64", "armv8"):
            from conan.errors import ConanInvalidConfiguration
            raise ConanInvalidConfiguration("poolalloc is for 64-bit Linux")

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..", "..", "..")
        for pattern in ("lib/*", "interpose/*", "scripts/*", "meson.build", "meson_options.txt", "LICENSE"):
            copy(self, pattern, root, self.export_sources_folder)

    def generate(self):
        MesonToolchain(self).generate()

    def build(self):
        meson = Meson(self)
        meson.configure()
        meson.build()

    def package(self):
        Meson(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        self.cpp_info.libs = ["poolalloc"]
        self.cpp_info.exelinkflags = ["-Wl,--no-as-needed"]
        self.cpp_info.set_property("cmake_file_name", "poolalloc")
        self.cpp_info.set_property("cmake_target_name", "poolalloc::poolalloc")
        self.cpp_info.set_property("pkg_config_name", "poolalloc")
