#!/bin/sh
# Links libv2m.so.1 of what cargo built: rustc's own shared libraries have no soname, and no
# versions on their symbols.
#
#   crates/capi/link.sh DIRECTORY [FLAG ...]
#
# DIRECTORY holds libv2m.a (cargo build -p v2m-capi) and is given the library; FLAGs are those of
# the linker, besides CC, CFLAGS and LDFLAGS. With DIRECTORY on PKG_CONFIG_PATH programs are
# compiled against it as it lies there.
set -eu
built=${1:?the directory of libv2m.a}
shift
# shellcheck disable=SC2086 # lists of flags
${CC:-cc} ${CFLAGS:-} -shared -o "$built/libv2m.so.1" \
    -Wl,--whole-archive "$built/libv2m.a" -Wl,--no-whole-archive -Wl,--gc-sections \
    -Wl,-soname,libv2m.so.1 -Wl,--version-script="${0%/*}/libv2m.map" \
    -Wl,--as-needed -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete \
    ${LDFLAGS:-} "$@" -lgcc_s -lm -lpthread -ldl -lc
ln -sf libv2m.so.1 "$built/libv2m.so"
built=$(cd "$built" && pwd) here=$(cd "${0%/*}" && pwd)
cat >"$built/v2m-uninstalled.pc" <<END
Name: v2m
Description: libv2m where it was built
Version: 0
Cflags: -I$here/include
Libs: -L$built -Wl,-rpath,$built -lv2m
END
