export CC=gcc CXX=g++ LD=ld AR=ar AS=as NM=nm RANLIB=ranlib STRIP=strip OBJCOPY=objcopy
export OBJDUMP=objdump READELF=readelf SIZE=size STRINGS=strings
