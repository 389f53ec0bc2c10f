"""bash, coreutils, text tools, archivers, openssl and ghostscript.

What always holds: each command line prints the same, exits the same and makes
the same files with the library as without it.
"""

import pytest

WORDS = "awk 'BEGIN { srand(7); for (i = 0; i < %d; i++) " \
        "printf \"%%d word%%d line%%d\\n\", rand() * 1e9, rand() * 5000, i }'"


def words(count):
    """A shell command that prints count pseudo-random lines."""
    return WORDS % count


BASH = {
    "arrays": """
        declare -a list; declare -A map
        for ((i = 0; i < 20000; i++)); do list[i]=item$((i * 7919 % 20011)); map[${list[i]}]=$i; done
        echo ${#list[@]} ${#map[@]} ${map[item7919]}
        list=("${list[@]:100:5000}"); unset 'list[3]'; echo ${#list[@]} "${list[@]: -3}"
        mapfile -t lines < <(printf '%s\\n' "${list[@]}"); echo ${#lines[@]} ${lines[77]}
        """,
    "strings": """
        s=; for ((i = 0; i < 3000; i++)); do s+="chunk $i,"; done
        echo ${#s} ${s:1000:40}; t=${s//chunk/piece}; echo ${#t} ${t%%9,*}
        IFS=, read -ra parts <<<"$s"; echo ${#parts[@]} "${parts[-1]}"
        printf -v big '%*s' 3000000 x; echo ${#big}; big=; echo ${s^^} | cut -c1-60
        [[ $s =~ (chunk\\ 29[0-9]+),(.*) ]] && echo "${BASH_REMATCH[1]} ${#BASH_REMATCH[2]}"
        """,
    "big loop": """
        f() { local a=$1; (( a > 0 )) && { f $((a - 1)); return; }; total=$((total + 1)); }
        total=0; for ((k = 0; k < 300; k++)); do f 40; done; echo $total
        for ((i = 0; i < 150000; i++)); do x="$i$i"; done; echo $x
        """,
    "subshells and pipes": """
        for i in {1..60}; do (x=$(echo $i | tr 0-9 a-j); echo $x; exit $((i % 3))) || echo "status $?"; done
        seq 1 50000 | while read -r n; do ((sum += n)); [[ $n == 50000 ]] && echo $sum; done
        cat <(seq 1 3) <(seq 4 6) | paste -sd+ | { read -r e; echo $((e)); }
        yes | head -1000 | wc -l; echo "${PIPESTATUS[@]:1}"
        """,
    "jobs, traps and coprocesses": """
        trap 'echo trapped' USR1; trap 'echo bye' EXIT
        kill -USR1 $$
        for i in 1 2 3 4; do (sleep 0.0$i; exit $i) & pids+=($!); done
        for p in "${pids[@]}"; do wait $p; echo $?; done
        coproc { while read -r l; do echo "got $l"; done; }
        echo hello >&${COPROC[1]}; read -r answer <&${COPROC[0]}; echo $answer
        exit 3
        """,
    "builtins": """
        set -- $(seq 1 2000); echo $# ${*: -1}; shift 500; echo $1; eval 'v=$((6 * 7))'; echo $v
        getopts ab: opt -b value; echo $opt $OPTARG
        declare -p BASH_VERSINFO | tr -dc '0-9 ' | head -c 20; echo
        printf '%q\\n' "a b'c"; type -t cd if printf; compgen -b | wc -l; history -c; ulimit -n >/dev/null
        cd /usr && pwd && pushd /tmp >/dev/null && dirs | head -c 4; echo; test -r /etc/passwd; echo $?
        """,
}

PIPES = {
    "sort": words(120000) + " | sort -k2,2 -k1n | sha256sum",
    "sort --parallel": words(200000) + " | sort --parallel=4 -S 3M -T . -k1,1n | sha256sum",
    "sort -u and uniq -c": words(60000) + " | cut -d' ' -f2 | tee all | sort | uniq -c | sort -rn | head -5;"
                                          " sort -u all | wc -l",
    "awk": words(60000) + " | awk '{ n[$2]++; t[$2] += $1; s = s substr($3, 5, 1) }"
                          " END { for (k in n) print k, n[k], t[k]; print length(s) }' | sort | sha256sum",
    "sed": words(60000) + r" | sed -nE 's/(word[0-9]+) (line)([0-9]+)/\3-\1/; H; 500{x;s/\n/+/g;p}; $p' | sha256sum",
    "grep": words(60000) + " >f; grep -c 'word4[0-9]*9 ' f; grep -oE 'word(1|22|333)[0-9]? ' f | sha256sum;"
                           " grep -P '(?<=word)77\\d*' f | wc -l; cut -d' ' -f2 f | head -300 | sort -u >p;"
                           " grep -Fwf p f | wc -l",
    "tr": words(60000) + " | tr a-z A-Z | tr -d '[:space:]' | tr -s 0-9 | sha256sum",
    "xargs -P": "seq 1 400 | xargs -P4 -n5 sh -c 'echo $* $(($1 * $5))' sh | sort -n | sha256sum",
    "join, paste, comm and split": "seq 1 20000 | sort >a; seq 1 3 20000 | sort >b; join a b | wc -l;"
                                   " comm -3 a b | sha256sum; paste a b | sha256sum; split -l 500 a piece.;"
                                   " cat piece.* | cmp - a && ls piece.* | wc -l; tac a | shuf --random-source=b | sha256sum",
    "find": "mkdir -p d/{1..20}/{a,b}; touch d/{1..20}/{a,b}/f{1..20}.{c,h}; find d -name '*1*.c' -newer /etc/passwd"
            " | sort | sha256sum; find d -type f -print0 | xargs -0 -n 100 ls -1 | sort | sha256sum;"
            " find d -name 'f2*' -delete -printf x | wc -c; du -a d --apparent-size | sort | sha256sum; rm -r d",
    "tar and gzip": words(30000) + " >f; mkdir d; split -n 20 f d/; tar --sort=name --mtime=@0 --owner=0 --group=0"
                                   " -cf - d | gzip -n9 >d.tgz; rm -r d; tar -xzf d.tgz; cat d/* | cmp - f && sha256sum d.tgz",
    "ls, stat and factor": "ls -laR --time-style=+ /etc/apt | sha256sum; stat -c '%n %s' /bin/* | sha256sum;"
                           " factor $(seq 100000000000000000000 100000000000000000009); numfmt --to=iec 123456789; dircolors | wc -l",
    "dd, od, base64 and checksums": "yes 0123456789 | dd bs=1M count=8 iflag=fullblock status=none >f; od -An -tx4 f | sha256sum;"
                                    " base64 f | base64 -d | cmp - f; md5sum f; cksum f; b2sum f; head -c 100000 f | basenc --base32hex | md5sum",
}


@pytest.mark.parametrize("name", BASH)
def test_bash(programs, name):  # COMPAT 66
    expected = 3 if name.startswith("jobs") else 0
    assert programs.same(["bash", "-c", BASH[name]], status=expected).out


@pytest.mark.parametrize("name", PIPES)
def test_pipeline_with(programs, name):
    assert programs.same(["bash", "-c", "set -o pipefail; " + PIPES[name]]).out


def test_failing_commands_report_the_same_errors(programs):
    result = programs.same(["bash", "-c", "ls /absent; sort --wrong; cat .; (exit 7); kill $BASHPID"],
                           status=None)
    assert result.status == -15 and "/absent" in result.err


def test_xz_with_two_threads_makes_the_same_archive_and_restores_it(programs):
    result = programs.same(["bash", "-c", words(150000) + " >f; xz -T2 -2 --block-size=1MiB -k f; xz -dc -T2 f.xz | cmp - f;"
                            " head -c 600000 f | xz -9e >g.xz; xz -l g.xz | wc -l; xz -t g.xz"], files=["*.xz"])
    assert len(result.files) == 2


def test_openssl_digests_and_ciphers(programs):
    text = words(50000) + """ >f
        for d in md5 sha1 sha256 sha512 sha3-256 blake2b512; do openssl dgst -$d f; done
        openssl enc -aes-256-cbc -pbkdf2 -S 0011223344556677 -k secret -in f -out f.aes
        openssl enc -d -aes-256-cbc -pbkdf2 -k secret -S 0011223344556677 -in f.aes | cmp - f && echo same"""
    assert "same" in programs.same(["bash", "-c", text], files=["f.aes"]).out


def test_openssl_makes_a_key_and_signs(programs):
    text = """openssl genrsa -out k.pem 2048 2>/dev/null; openssl rsa -in k.pem -pubout -out p.pem 2>/dev/null
        openssl dgst -sha256 -sign k.pem -out sig /etc/passwd; openssl dgst -sha256 -verify p.pem -signature sig /etc/passwd
        openssl req -x509 -key k.pem -subj /CN=x -days 2 -out c.pem; openssl verify -CAfile c.pem c.pem
        openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout 2>/dev/null | head -1"""
    assert "Verified OK" in programs.same(["bash", "-c", text]).out


def test_openssl_speed_runs(programs):
    out = programs.run(["openssl", "speed", "-seconds", "1", "-bytes", "4096", "-multi", "2", "sha256"]).out
    assert "sha256" in out


PICTURE = """%!PS
/Helvetica findfont 24 scalefont setfont
1 1 12 { /p exch def
  0 20 600 { dup 360 div 1 1 sethsbcolor dup 50 add p 10 mul moveto 300 400 lineto stroke
             pop } for
  0 setgray 72 500 moveto (Page ) show p 20 string cvs show
  /d 200 dict def 0 1 199 { 100 string pop dup d 3 1 roll 10 mul put } for
  showpage } for
"""


def test_ghostscript_renders_the_same_pages(programs):
    result = programs.same_script(
        ["bash", "-c", "gs -q -dBATCH -dNOPAUSE -sDEVICE=png16m -r50 -sOutputFile=p%02d.png $0;"
                       "gs -q -dBATCH -dNOPAUSE -sDEVICE=bbox $0; gs -q -dBATCH -dNOPAUSE -sDEVICE=txtwrite -o - $0"],
        PICTURE, ".ps", files=["*.png"])
    assert len(result.files) == 12 and "%%BoundingBox" in result.err
