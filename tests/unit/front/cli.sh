#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The dpf tool as a person meets it: exit status, messages, hostile input.
# Speaks TAP. usage: cli.sh DPF CAPTURE OBJECT SOURCE
set -u
dpf=$1 capture=$2 object=$3 source=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
# check NAME STATUS PATTERN COMMAND...: the command (standard input is ours)
# ends with the status, and what it prints matches the pattern.
check() {
    local name=$1 status=$2 pattern=$3 out got
    shift 3
    [ "$1" != d ] || set -- "$dpf" "${@:2}"
    out=$(limited "$@" 2>&1)
    got=$?
    n=$((n + 1))
    if [ "$got" = "$status" ] && grep -qE -- "$pattern" <<<"$out"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name: status $got, not $status"
        head -n 5 <<<"$out" | sed 's/^/# /'
    fi
}
d() { "$dpf" "$@"; }
# No command takes long; functions of this script bound themselves.
limited() {
    if [ "$(type -t "$1")" = function ]; then "$@"; else timeout 300 "$@"; fi
}

check 'no verb' 2 'usage: dpf VERB' d
check 'help' 0 'compile .*verified' d --help
check 'unknown verb' 2 "'frob' is no verb" d frob
for verb in compile verify dump explain graph run diff conflicts bench plugin; do
    check "$verb --help" 0 "usage: dpf $verb" d "$verb" --help
done
check 'help VERB' 0 'usage: dpf run' d help run
check '-h' 0 'usage: dpf VERB' d -h
check 'help of no verb' 2 "'frob' is no verb" d help frob
# pcap-filter(7): an empty expression takes all packets.
for empty in '' ' ' @/dev/null; do
    check "empty expression '$empty'" 0 '^ *- *0  accepted by none' d run -r "$capture" 'not ip' "$empty"
done
check 'every packet' 0 'verified' d verify 'len >= 0'
check 'no file name' 2 "without a file's name" d verify @
check 'text and packets in one stream' 2 'write to a file' d run --each -w - -r "$capture" ip
check 'unknown option' 2 'unrecognized option' d run --frob
check 'no filter' 2 'no filter given' d verify
check 'column and hint' 2 'dpf: expression:1:10: .=. cannot stand here; capture' \
    d compile 'tcp port = 80'
check 'full disk' 2 'standard output' bash -c "'$dpf' compile ip > /dev/full"

check 'closed standard output' 2 'standard output: Bad' bash -c "'$dpf' compile ip >&-"
check 'nothing lands in a file of ours' 0 '^$' bash -c \
    "'$dpf' run -r '$capture' -w '$work/w.pcap' ip >&- 2>&-; '$dpf' run -r '$capture' -w - ip 2>/dev/null | cmp - '$work/w.pcap'"

# Every form in, every form out, the same program.
d compile 'tcp port 80' >"$work/a.s"
d compile --format hex @"$work/a.s" >"$work/a.hex"
d compile --format raw @"$work/a.hex" >"$work/a.raw"
check 'round trip' 0 '^$' bash -c "'$dpf' compile @'$work/a.raw' | diff - '$work/a.s'"
check 'C array' 0 'struct dpf_insn web\[' d compile --format c --name web ip
check 'bad name' 2 'no name in C' d compile --format c --name 1x ip
check 'object' 0 'verified' d verify "@$object"
check 'C source' 0 'verified' d verify "@$source"
cp "$source" "$work/-x.c"
check 'C source with the name of an option' 0 'verified' bash -c "tool=\$(realpath '$dpf'); cd '$work' && \$tool verify @-x.c"
cat >"$work/two.c" <<'C'
static __attribute__((noinline)) int helper(const unsigned char *p)
{
    return p[12] == 8;
}
int other(const unsigned char *p, unsigned long len) { return len > 9; }
int filter(const unsigned char *p, unsigned long len)
{
    return len < 14 ? 0 : helper(p);
}
C
check 'several functions in C' 2 'one function, and here are 3:.* helper' d verify "@$work/two.c"
check 'and how to write it' 2 'static inline' d verify "@$work/two.c"
sed 's/__attribute__((noinline))/inline/; /^int other/d' "$work/two.c" >"$work/one.c"
check 'a helper inline' 0 'verified' d verify "@$work/one.c"
sed 's/^int other/__attribute__((section("side"))) &/; s/__attribute__((noinline))/inline/' \
    "$work/two.c" >"$work/sections.c"
check 'each in a section' 0 'verified' d verify --section side "@$work/sections.c"
cat >"$work/loop.c" <<'C'
int filter(const unsigned char *p, unsigned long len)
{
    unsigned sum = 0;
#pragma clang loop unroll(disable)
    for (unsigned long i = 0; i < len; i++) {
        sum += p[i];
    }
    return sum == 7;
}
C
check 'a loop, which the kernel refuses' 3 'loop.c:[0-9]+:[0-9]+: verified, but refused by the kernel.*jump back' \
    d verify "@$work/loop.c"
check 'and with -q' 3 'refused by the kernel' d verify -q "@$work/loop.c"
check 'other types may loop' 0 'verified' bash -c "'$dpf' compile @'$work/loop.c' >'$work/loop.s'; '$dpf' verify --type raw @'$work/loop.s'"
python3 -c "print('r0 = 1\n' * 5000 + 'exit')" >"$work/long.s"
check 'long, which the kernel refuses' 3 'more than 4096' d verify "@$work/long.s"
echo 'int f(' >"$work/bad.c"
check 'bad C' 2 'clang refuses' d verify "@$work/bad.c"
printf '1\n6 0 0 65535\n' >"$work/a.ddd"
check 'tcpdump -ddd' 0 'verified' d verify "@$work/a.ddd"
check 'by pipe' 0 'verified' bash -c "echo 'udp or icmp' | '$dpf' verify @-"
printf 'web: tcp port 80\nbad: tcp port\n' >"$work/list"
check 'list has lines' 2 'list:2:[0-9]+: ' d verify --list "$work/list"
printf 'ip\ntcp\0 port 80\nudp\n' >"$work/nul"
check 'a NUL byte in a list' 2 'nul:2:4: a NUL byte' d verify --list "$work/nul"
check 'link type' 0 'verified' d verify --dlt RAW ip
check 'unknown link type' 2 '--dlt' d verify --dlt FROB ip

# Refusals of the verifier.
printf 'r0 = r5\nexit\n' >"$work/unset.s"
check 'refused' 1 'unset.s:1:' d verify "@$work/unset.s"

printf 'r0 = 1\ngoto +40000\nexit\n' >"$work/far.s"
check 'a distance is no constant' 2 '32767; a label may be farther' d verify "@$work/far.s"

# Captures.
check 'count' 0 'of 400 packets accepted' d run -r "$capture" ip
check 'who gets what' 0 'accepted by several' d run -r "$capture" 'a: ip' 'b: tcp'
check 'nothing' 1 '^0 of' d run -r "$capture" 'less 0 and host 9.9.9.9'
check 'select' 0 'accepted' bash -c \
    "'$dpf' run -r '$capture' -w - tcp 2>/dev/null | '$dpf' run tcp"
check 'same by every engine' 0 '^$' bash -c "
    for e in merged native interp; do
        '$dpf' run --each --engine \$e -r '$capture' a:\ tcp b:\ udp > '$work'/\$e
    done; cmp '$work/merged' '$work/native' && cmp '$work/native' '$work/interp'"
check 'agreement' 0 'all agree' d diff -r "$capture" --snap 30 'tcp port 80' "@$work/a.s"
check 'no capture' 2 'nosuch: No such file' d run -r nosuch ip
mkdir -p "$work/folder/a.pcap/deep" "$work/empty/empty"
for verb in run diff 'bench single'; do
    check "$verb: an empty folder" 2 'empty: no captures' bash -c "'$dpf' $verb -r '$work/empty' < '$capture'"
done
cp "$capture" "$work/folder/a.pcap/deep/b.pcap"
for name in x y z; do ln -s . "$work/folder/$name.pcap"; done
check 'links that lead back' 0 'of 400 packets accepted' d run -r "$work/folder" ip
check 'not a capture' 2 'not a capture' d run -r "$source" ip
head -c 1003 "$capture" >"$work/cut.pcap"
check 'cut capture' 2 'after [0-9]+ packets' d run -r "$work/cut.pcap" ip

check 'pcapng' 0 ' 3  packets' d run -r "${0%/*}/../../data/seeds/two.pcapng" 'a: tcp port 80' 'b: arp'
check 'closed pipe' 0 '^rc 141$' bash -c \
    "args=(); for i in {1..60}; do args+=(-r '$capture'); done
    '$dpf' run --each \"\${args[@]}\" ip tcp udp | head -n 1; echo rc \${PIPESTATUS[0]}"
check 'packets from a terminal' 2 'give captures by -r' script -qec "'$dpf' run ip" /dev/null
check 'progress' 0 '-: [0-9]+ packets' script -qec \
    "bash -c '(cat $capture; sleep 2; for i in {1..20}; do tail -c +25 $capture; done) | $dpf run ip'" /dev/null

# What is written takes its name when it is whole, and never that of an input.
mkdir "$work/o"
cp "$capture" "$work/o/in.pcap"
ln "$work/o/in.pcap" "$work/o/hard.pcap"
ln -s in.pcap "$work/o/soft.pcap"
for name in in hard soft ../o/in; do
    check "no writing onto the input: $name" 2 'also an input' \
        d run -r "$work/o/in.pcap" -w "$work/o/$name.pcap" ip
done
check 'no writing onto the input: a folder of them' 2 'also an input' \
    d run -r "$work/o" -w "$work/o/soft.pcap" ip
check 'no writing onto the input: by stream' 2 'also an input' bash -c \
    "'$dpf' run -w '$work/o/in.pcap' ip < '$work/o/hard.pcap'"
check 'no writing onto the input: by both streams' 2 'also an input' bash -c \
    "'$dpf' run -w - ip < '$work/o/in.pcap' >> '$work/o/hard.pcap'"
cp "$work/a.s" "$work/list" "$work/o"
check 'no writing onto a filter' 2 'also an input' \
    d compile -o "$work/o/a.s" x: @"$work/o/a.s"
check 'no writing onto a list' 2 'also an input' \
    d run -r "$capture" -w "$work/o/list" --list "$work/o/list"
check 'and nothing was written' 0 '^$' bash -c \
    "cmp '$capture' '$work/o/in.pcap' && cmp '$work/a.s' '$work/o/a.s' && cmp '$work/list' '$work/o/list'"
echo old >"$work/o/old"
ln -s old "$work/o/way"
check 'a failure leaves the old file' 2 'after [0-9]+ packets' \
    d run -r "$work/cut.pcap" -w "$work/o/old" ip
check 'a refusal leaves the old file' 1 'unset.s:1:' \
    d compile -o "$work/o/old" "@$work/unset.s"
check 'a signal leaves the old file' 0 '^130$' bash -c \
    "exec 2>/dev/null; set -m; (cat '$capture'; sleep 9) | '$dpf' run -w '$work/o/old' ip & sleep 0.5
    ls '$work/o' | grep -q partial || echo none; kill -INT %1; wait %1; echo \$?"
check 'and nothing beside it' 0 '^old$' bash -c \
    "ls '$work/o' | grep partial; cat '$work/o/old'"
chmod 640 "$work/o/old"
check 'through a link, with its mode' 0 '^640 old$' bash -c \
    "'$dpf' compile -o '$work/o/way' ip && diff <('$dpf' compile ip) '$work/o/old' && cd '$work/o' && stat -c '%a %n' old && [ -L way ]"
check 'onto a device' 0 'accepted' d run -r "$capture" -w /dev/null ip
check 'into no folder' 2 'No such file' d compile -o "$work/nosuch/x" ip

# Programs that are no filters want more than a packet.
printf 'r1 = 1\ncall 4\nr0 = 1\nexit\n' >"$work/wake.s"
printf 'r2 = 1\nr3 = 1\nr1 = 0\ncall 1\nr0 = 1\nexit\n' >"$work/emit.s"
check 'a handler is verified' 0 'verified' d verify --type handler "@$work/wake.s"
check 'a handler is not run' 2 'only filters' d run --type handler -r "$capture" "@$work/wake.s"
check 'a handler is not compared' 2 'only filters' d diff --type handler -r "$capture" "@$work/wake.s"
check 'a handler is not explained' 2 'only filters' d explain --type handler --packet 00 "@$work/wake.s"
for verb in graph conflicts 'dump --merged' 'dump --diagram'; do
    check "$verb: a handler is not drawn" 2 'only filters' d $verb --type handler "@$work/wake.s"
done
check 'a udf is not run' 2 'only filters' d run --type udf -r "$capture" "@$work/emit.s"

# Link types.
head -c 20 "$capture" >"$work/raw.pcap"
printf '\x65\0\0\0' >>"$work/raw.pcap"
tail -c +25 "$capture" >>"$work/raw.pcap"
check 'captures of two link types' 2 'raw.pcap: link type RAW, .* EN10MB' \
    d run -r "$capture" -r "$work/raw.pcap" ip
check 'diff takes the link type told' 2 'supported only on ethernet' \
    d diff -r "$capture" --snap 20 --dlt RAW 'ether host 02:00:00:00:00:01'

# Loopback of BSD: the family's number is in the byte order of the machine that
# captured, and IPv6 has another number on each of them.
loopback() { # BYTES of header and packet, as printf has them
    printf '%b' "$1\0\0\0\0\0\0\0\0$2\0\0\0\0\0\0\0\0\0\0\0\0$3"
    printf '%b' "$4$(printf '\\0%.0s' {1..40})"
}
loopback '\xa1\xb2\xc3\xd4\0\2\0\4' '\0\4\0\0' '\0\0\0\x2c\0\0\0\x2c' '\0\0\0\x02' >"$work/big.pcap"
loopback '\xd4\xc3\xb2\xa1\2\0\4\0' '\0\0\4\0' '\x2c\0\0\0\x2c\0\0\0' '\x1e\0\0\0' >"$work/little.pcap"
check 'loopback of the other byte order' 0 '^1 of 1' d run -r "$work/big.pcap" ip
check 'the same by diff' 0 'all agree' d diff -r "$work/big.pcap" -r "$work/little.pcap" ip
check 'the same explained' 0 'accepted' d explain -r "$work/big.pcap" ip
check 'loopback of another system' 0 '^1 of 1' d run -r "$work/little.pcap" ip6
check 'loopbacks of two byte orders' 2 'little.pcap: .* another byte order' \
    d run -r "$work/big.pcap" -r "$work/little.pcap" ip
check 'what no capture can tell' 2 'not supported on Ethernet when reading' d verify inbound

# What is written keeps what the captures have.
fine() { # MAGIC SNAP FRACTION: a capture of one packet of 44 bytes
    printf '%b' "$1\\2\\0\\4\\0$(printf '\\0%.0s' {1..8})$2\\0\\0\\0$(printf '\\0%.0s' {1..8})$3"
    printf '%b' "\\x2c\\0\\0\\0\\x2c\\0\\0\\0$(printf '\\0%.0s' {1..44})"
}
fine '\x4d\x3c\xb2\xa1' '\x40' '\x15\xcd\x5b\7' >"$work/fine.pcap"
check 'nanoseconds' 0 '^$' bash -c \
    "'$dpf' run -r '$work/fine.pcap' -w - 'len > 0' 2>/dev/null | cmp - '$work/fine.pcap'"
fine '\xd4\xc3\xb2\xa1' '\4' '\6\0\0\0' >"$work/short.pcap"
check 'a short capture before a long one' 0 '^1 of 2' bash -c \
    "'$dpf' run -r '$work/short.pcap' -r '$work/fine.pcap' -w - 'len > 0' 2>/dev/null | '$dpf' run 'len > 40'"
check 'a compressed capture' 2 "what 'gzip -dc' makes" bash -c "gzip <'$capture' | '$dpf' run ip"

# Names of native code: for perf, and for GDB, which reads them as functions.
check 'perf map' 0 '^[0-9a-f]+ [0-9a-f]+ dpf_web$' bash -c \
    "'$dpf' run --symbols -r '$capture' 'web: ip' 'all: arp' > '$work/out' & wait \$!; cat /tmp/perf-\$!.map; rm /tmp/perf-\$!.map"
in_gdb() {
    local out
    out=$(timeout 20 gdb -nx -batch -ex 'break summary' -ex run -ex 'x/2i dpf_web' \
        -ex 'x/2i dpf_merged' -ex continue --args "$dpf" run --symbols \
        -r "$capture" 'web: ip' 'all: arp' 2>&1)
    rm -f "/tmp/perf-$(sed -n 's/.*(process \([0-9]*\)) exited.*/\1/p' <<<"$out").map"
    grep -c '<dpf_web+[0-9]*>\|<dpf_merged+[0-9]*>' <<<"$out"
}
check 'GDB' 0 '^2$' in_gdb
check 'merged code' 0 'ret' d dump --merged --native \
    'ip and tcp dst port 80' 'ip and udp dst port 53'
check 'merged code of what overlaps' 1 'filters 1 and 2 could claim' \
    d dump --merged 'src host 10.0.0.1' 'dst host 10.0.0.1'

# Diagrams.
check 'explain' 1 'must be 0x06' d explain --packet \
    "$(printf '0%.0s' {1..24})08004500001c00000000401100000a0000010a000002" tcp
check 'explain: no such packet' 2 'only 400' d explain -r "$capture" -n 999 ip
check 'graph' 0 '^digraph' d graph 'tcp port 80' 'udp port 53'
check 'conflict' 1 'overlap.*: [0-9a-f]+' d conflicts ip 'tcp port 80'
check 'a packet that only one accepts shows nothing' 1 'may overlap \(as far as they can be read\)$' \
    d conflicts 'ip[8] * ip[9] = 7 and ip[8] = 2' 'ip'
check 'no conflict' 0 'no two' d conflicts 'ip' 'arp'

# Every table of the benchmark, in the fields that others read.
for what in single demux install; do
    check "bench $what" 0 '^[1-9][0-9]* rows of correct engines$' bash -c "'$dpf' bench $what --rounds 3 --json 2>/dev/null | python3 -c '
import json, sys
rows = json.load(sys.stdin)
need = \"workload engine n ns ns_min ns_q75 cycles correct\".split()
need += [\"us\", \"bytes\"] if \"$what\" == \"install\" else []
assert all(k in r for r in rows for k in need)
assert all(r[\"correct\"] for r in rows)
print(len(rows), \"rows of correct engines\")'"
done

# The conformance suite's convention.
add='b7 00 00 00 05 00 00 00 07 00 00 00 03 00 00 00 95 00 00 00 00 00 00 00'
check 'plugin' 0 '^8$' bash -c "echo '$add' | '$dpf' plugin '' --engine interp"
check 'plugin native' 0 '^8$' bash -c "echo '$add' | '$dpf' plugin --engine native"
check 'plugin as the suite calls it' 0 '^8$' bash -c "echo '$add' | '$dpf' plugin '' ''"
check 'plugin, options in one word' 0 '^8$' bash -c "echo '$add' | '$dpf' plugin '' '--engine interp --debug'"
check 'plugin, program as option' 0 '^8$' d plugin --program "$add" --engine=interp
check 'plugin, bad option' 2 "'--frob' is not" d plugin '' '--frob 1'
check 'plugin, bad engine' 2 'none of interp' d plugin --engine jit
check 'plugin, object' 0 '^0$' bash -c "od -An -v -tx1 '$object' | '$dpf' plugin '' --elf"
load='71 10 02 00 00 00 00 00 95 00 00 00 00 00 00 00'
check 'plugin memory' 0 '^3c$' bash -c "echo '$load' | '$dpf' plugin 'aa bb 3c'"
check 'plugin outside' 1 'outside its memory' bash -c "echo '$load' | '$dpf' plugin 'aa'"

# Connections by the thousand.
for i in {1..1500}; do
    echo "src host 10.0.$((i / 250)).$((i % 250 + 1)) and tcp src port $i and dst port 80"
done >"$work/many"
check 'many filters, little memory' 1 '= +400  packets' bash -c \
    "ulimit -v 300000; '$dpf' run -r '$capture' --list '$work/many'"

for i in {1..20000}; do
    echo "ip src host 10.$((i >> 16)).$((i >> 8 & 255)).$((i & 255)) and tcp dst port 80"
done >"$work/more"
check 'disjoint filters cost little each' 1 '= +400  packets' bash -c \
    "timeout 15 '$dpf' run -r '$capture' --list '$work/more'"
check 'disjoint filters are soon told apart' 0 'no two of 20000 filters' bash -c \
    "timeout 15 '$dpf' conflicts --list '$work/more'"
echo tcp >>"$work/many"
check 'one wide filter among narrow ones is soon found' 0 '^1500$' bash -c \
    "ulimit -t 3; '$dpf' conflicts --list '$work/many' | grep -c 'overlap, the first inside'"
for i in {1..2000}; do
    case $((i % 4)) in
    0) echo "src host 10.0.$((i >> 8)).$((i & 255))" ;;
    1) echo "dst host 10.1.$((i >> 8)).$((i & 255))" ;;
    2) echo "tcp dst port $i" ;;
    3) echo "udp src port $i" ;;
    esac
done >"$work/crossing"
check 'many that overlap are soon drawn' 0 '^}' bash -c \
    "ulimit -t 5; '$dpf' graph --list '$work/crossing'"
check 'one that meets them is found' 1 '2 and 3 overlap' d conflicts arp 'tcp port 80' 'tcp port 443'
check 'disjoint and overlapping together' 0 '^$' bash -c "
    for e in merged native; do
        '$dpf' run --each --engine \$e -r '$capture' udp tcp ip 'tcp port 80' arp > '$work'/\$e
    done; cmp '$work/merged' '$work/native'"

# Hostile input of any length.
for kind in expr ddd asm atoms hex raw object; do
    check "zeros as $kind" 2 '^dpf: ' bash -c "head -c 100000000 /dev/zero | '$dpf' verify --from $kind @-"
    check "noise as $kind" 2 '^dpf: ' bash -c "head -c 300001 '$dpf' | '$dpf' verify --from $kind @-"
done
check 'C by pipe' 0 'verified' bash -c "'$dpf' verify --from c @- < '$source'"
check 'endless C' 2 'dpf: -: longer than' bash -c "yes 'int i;' | '$dpf' verify --from c @-"
check 'much C' 2 'longer than 1 MiB' bash -c "yes 'int i;' | head -c 2000000 | '$dpf' verify --from c @-"
check 'endless text' 2 'longer than' bash -c "yes 'r0 = 1' | '$dpf' verify --from asm @-"
check 'endless list' 2 'more than 100000 filters|longer than' bash -c "yes ip | '$dpf' verify -q --list -"
check 'endless words' 2 'at most' bash -c "yes 'or ip' | head -c 1000000 | '$dpf' verify @-"
for i in {1..800}; do printf 'port %d or ' $((i * 7)); done >"$work/ports"
echo 'port 80' >>"$work/ports"
check 'a long list of ports' 3 'verified' bash -c "ulimit -t 2; '$dpf' verify @'$work/ports'"
check 'a message is one line' 2 'somewhere in these 2000 words' bash -c \
    "(echo ip; yes 'or ip' | head -n 999; echo or) | '$dpf' verify @-"
backward() { # each jumps to the one before it
    printf '60000\n5 0 0 59997\n6 0 0 1\n'
    yes '5 0 0 4294967294' | head -n 59997
    echo 6 0 0 0
}
backward >"$work/backward.ddd"
check 'classic BPF that goes backward' 3 'verified' bash -c "ulimit -t 2; '$dpf' verify @'$work/backward.ddd'"
check 'endless program' 2 'longer than' bash -c "yes b7 | '$dpf' plugin"
printf '\n\r\r\n\x1c\0\0\0\x4d\x3c\x2b\x1a\1\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0' >"$work/section"
printf '\1\0\0\0\x14\0\0\0\1\0\0\0\xff\xff\0\0\x14\0\0\0' >"$work/interface"
for i in {1..12}; do # 4,096 of them
    cat "$work/interface" "$work/interface" >"$work/more" && mv "$work/more" "$work/interface"
done
check 'endless interfaces' 2 'more than 65536 interfaces' bash -c \
    "ulimit -v 300000; (cat '$work/section'; while cat '$work/interface'; do :; done) 2>/dev/null | '$dpf' run ip"
check 'endless sections' 1 '^0 of 0' bash -c \
    "ulimit -v 300000; (for i in {1..2000}; do cat '$work/section' '$work/interface'; done) | '$dpf' run ip"
check 'endless capture' 2 'not a capture' bash -c "yes | '$dpf' run ip"
echo "1..$n"
