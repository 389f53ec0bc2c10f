# Builds an installed poolalloc for vcpkg, from the checkout that this file is in: an overlay port, used by
#   vcpkg install poolalloc --overlay-ports=scripts/packaging/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_configure_meson(SOURCE_PATH "${SOURCE_PATH}")
vcpkg_install_meson()
vcpkg_cmake_config_fixup(PACKAGE_NAME poolalloc CONFIG_PATH lib/cmake/poolalloc)
vcpkg_fixup_pkgconfig()
vcpkg_copy_tools(TOOL_NAMES poolalloc AUTO_CLEAN)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
