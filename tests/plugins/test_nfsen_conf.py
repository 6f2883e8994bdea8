"""What is read of a configuration in Perl is what perl itself finds in it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins" / "nfsen"
PERL = shutil.which("perl")
HAS_PPI = PERL and subprocess.run([PERL, "-MPPI", "-e1"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not HAS_PPI, reason="perl is not installed, or without PPI (Debian: libppi-perl)")
READ = r"""
use ConfReader qw(is_unknown read_assignments);
use JSON::PP; local $/;
sub plain {
    my ($node) = @_;
    my $value = $node->{value};
    my $plain = is_unknown($value) ? JSON::PP::true : ref $value eq 'ARRAY' ? [map { plain($_) } @$value]
        : ref $value ? { map { $_ => plain($value->{$_}) } keys %$value } : $value;
    return [$plain, $node->{line}];
}
my @read = map {
    my $found = eval { read_assignments($_, { '$PRESET' => 'before' }) };
    $found ? { found => plain({ value => $found })->[0] } : ref $@ ? $@ : die $@;
} @{ decode_json(<STDIN>) };
print JSON::PP->new->ascii->encode(\@read);
"""
UNKNOWN = True
DUMP = r"""
use JSON::PP; our $PRESET = 'before'; our ($A, $B, $C, $D, @L, @M, %H, %I);
(defined do './conf') or die $@;
print JSON::PP->new->ascii->allow_nonref->encode({ '$A' => $A, '$B' => $B, '$C' => $C, '$D' => $D,
    '@L' => \@L, '@M' => \@M, '%H' => \%H, '%I' => \%I });
"""

UNDERSTOOD = {
    "quotes": r"""$A = 'it\'s \\ $B'; $B = "a\tb \"$A\" \$x"; $C = q{a {nested} \} $B @x}; $D = qq(<${B}>);
        @L = (qq'$A', q'$A');""",
    "here-documents": """$A = <<"END" . 'tail';\n1 $PRESET # no comment\nEND\n$B = <<'END'; $C = <<EOT;\n\\n $A\n"""
    """END\n$A;\nEOT\n$D = <<~EOT;\n    indented\n      more\n    EOT\n@L = (<<X, 'y');\nx;\nX\n""",
    "comments": """# $A = 'no';\n$A = 'yes'; # $A = 'no';\n$B = '#'; $C = "#$A"; $D = q#x#;\n\n=pod\n\n"""
    """$A = 'no';\n\n=cut\n\n@L = ( # one\n 'a', # two )\n);\n__END__\n$A = 'never';\n""",
    "numbers": "$A = 300; $B = 1_000; $C = 0x1f; $D = -5; @L = (0755, 1.50, 1e3, .5);",
    "variables": """$A = "/data"; $B="${A}/bin"; $C = "$B/x.$A"; $D = $A . '/' . $B;
        @L = ($A, "$PRESET-x"); @M = (@L, 'end');""",
    "nested": """%H = (url => 'http://[::1]:9953', 'list' => [ 'a', [ 'b', { c => undef } ], ],
        deep => { x => { y => 'z' } },);
        @L = ( [ '*', 'one' ], [ 'live', "two" ], ); %I = ();""",
    "words as keys": "%H = (q => 1, s => 'x', y => 'y', tr => 2, m => 3, 'qw' => 4, -z => 5); %I = (qw(a b c d));",
    "lists": "@L = qw/one two\nthree/; @M = ('a' => 'b',, (('c'), 'd'), ()); our $A = ('x', 'y'); $B = undef;",
    "elements": """%H = (a => { b => 1 }); $H{a}{c} = 2; $H{'d'}->{e} = [ 3 ]; $H{"f"} = 'g'; $H{a}{b} = 7;
        $I{x} = 'y';""",
    "push": "@L = ('a'); push @L, 'b', [ 'c' ]; push(@L, 'd'); push @M, qw(x y);",
    "the last one counts": "$A = 'a'; $B = $A; $A = 'b'; %H = (a => 1); %H = (b => 2, b => 3);",
    "code beside": """sub twice { my ($x) = @_; return "$x$x" }\nif ($PRESET eq 'x') { $PRESET =~ s/a{2}/b/; }\n"""
    """for my $i (1 .. 2) { my %seen = (a => $i % 2); }\n%H = (a => 1);\n"""
    """$A = 'x' if 1;\n$B = 'y';\nprint STDERR "" if $B =~ /['"{]/;\n$C = "z";""",
    "odd spacing": "$A='a';$B\n=\n'b'\n;$C\t= 'c'; @L=('a','b' ) ;%H=(a=>'b');",
    "unicode": "$A = 'z\u00fcrich'; $B = \"$A\\x{e9}\";",
}


class Node:
    """A value, and the line on which it is written."""

    def __init__(self, value: Any, line: int | None) -> None:
        self.value: Any = value
        self.line = line
        if isinstance(value, list):
            self.value = [Node(*node) for node in value]
        if isinstance(value, dict):
            self.value = {key: Node(*node) for key, node in value.items()}


class PerlError(Exception):
    """What makes the rest of the file unreadable, and on which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(node.value) for node in value]
    if isinstance(value, dict):
        return {key: plain(node.value) for key, node in value.items()}
    return value


def as_perl_prints(value: Any) -> Any:
    """Return JSON with its numbers as text, as Perl sees no difference."""
    if isinstance(value, list):
        return [as_perl_prints(part) for part in value]
    if isinstance(value, dict):
        return {key: as_perl_prints(part) for key, part in value.items()}
    return f"{value:.15g}" if isinstance(value, int | float) else value


def read_all(texts: list[str]) -> list[dict[str, Node] | PerlError]:
    command = [str(PERL), f"-I{PLUGINS}", "-we", READ]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert run.stderr == ""
    return [
        {name: Node(*node) for name, node in one["found"].items()}
        if "found" in one
        else PerlError(one["line"], one["message"])
        for one in json.loads(run.stdout)
    ]


def read(text: str) -> dict[str, Node]:
    (found,) = read_all([text])
    if isinstance(found, PerlError):
        raise found
    return found


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_values_are_those_of_perl(name: str, tmp_path: Path) -> None:
    text = UNDERSTOOD[name] + ("" if "__END__" in UNDERSTOOD[name] else "\n1;\n")
    (tmp_path / "conf").write_bytes(text.encode("latin-1"))
    run = subprocess.run([str(PERL), "-e", DUMP], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    perls = as_perl_prints(json.loads(run.stdout))
    found = read(text)
    empty: dict[str, Any] = {"$": None, "@": [], "%": {}}
    ours = {name: plain(found[name].value) if name in found else empty[name[0]] for name in perls}
    # A statement with a condition is not decided here.
    unknown = {name for name, value in ours.items() if value is UNKNOWN}
    assert unknown == ({"$A"} if name == "code beside" else set())
    assert {k: v for k, v in ours.items() if k not in unknown} == {k: v for k, v in perls.items() if k not in unknown}


@pytest.mark.parametrize(
    "text",
    [
        "$A = `hostname`;",
        "$A = hostname();",
        "$A = $ENV{HOME};",
        '$A = "$ENV{HOME}/x";',
        '$A = "a@b";',
        "$A = $B ? 'x' : 'y';",
        "$A = 5 * 60;",
        "$A = 'x' x 3;",
        "$A = 'x' unless $B;",
        "$A = 'x'; if ($B) { $A = 'y'; }",
        "$A = 'x'; $A .= 'y';",
        "$A = 'x'; $A =~ s{x} {y};",
        "$A = 'x'; ($A, $B) = ('a', 'b');",
        "$A = 'x'; ${A} ||= 'y'",
        '$A = "\\Ux";',
    ],
)
def test_what_only_perl_can_tell_is_unknown(text: str) -> None:
    assert read(f"$A = 'old';\n{text}\n$D = 'after';\n1;")["$A"].value is UNKNOWN
    assert read(f"{text};\n$D = 'after';\n1;")["$D"].value == "after"


@pytest.mark.parametrize(
    "text",
    [
        "if ($x) { push @L, 'b'; }",
        "if ($x) { push(@L, 'b') }",
        "unshift @L, 'b';",
        "$L[0] = 'b';",
        "push @L, 'x' if $y;",
        "change(\\@L);",
        "@L = map { $_ } @L;",
    ],
)
def test_arrays_that_code_may_change_are_unknown(text: str) -> None:
    value = read(f"@L = ('a');\n{text}\n1;")["@L"].value
    assert value is UNKNOWN or (isinstance(value, list) and any(node.value is UNKNOWN for node in value))


@pytest.mark.parametrize(
    "text", ["if ($x) { $H{a} = 1; }", "$H{$x} = 1;", "$H{a}[0] = 1;", "%H = (%H, b => 1);", "delete $H{a};"]
)
def test_hashes_that_code_may_change_are_unknown(text: str) -> None:
    assert read(f"%H = (a => 2);\n{text}\n1;")["%H"].value is UNKNOWN


def test_lines_are_those_of_the_file() -> None:
    text = "# first\n\n$A = <<X;\n1\n2\nX\n"
    text += "%H = (\n  one => {\n    # two\n    'url' => 'x',\n  },\n);\n@L = (\n [ 'a' ],\n);\n"
    found = read(text)
    assert [found[name].line for name in ("$A", "%H", "@L")] == [3, 7, 13]
    one = found["%H"].value["one"]  # type: ignore[index,call-overload]
    assert (one.line, one.value["url"].line) == (8, 10)
    assert found["@L"].value[0].line == 14  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("$A = 1;\n$B = 'x;\n$C = 2;\n", 2),
        ("\n$A = <<END;\nx\n", 2),
        ("@L = (\n [ 'a', ;\n", 2),
        ("%H = ( a => {\n b => 1,\n", 1),
        ("if (1) {\n $A = 1;\n", 1),
        ("$A = q{x;", 1),
    ],
)
def test_what_has_no_end_is_found(text: str, line: int) -> None:
    with pytest.raises(PerlError) as error:
        read(text)
    assert error.value.line == line


def test_no_text_makes_it_fail_otherwise() -> None:
    whole = "\n".join(UNDERSTOOD.values())
    texts = []
    for at in range(0, len(whole), 13):
        texts += [whole[:at], whole[at:], whole[:at] + "}" + whole[at:]]
    for text, found in zip(texts, read_all(texts), strict=True):
        if isinstance(found, PerlError):
            assert 1 <= found.line <= text.count("\n") + 1
