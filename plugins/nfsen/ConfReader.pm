# Reads the assignments of a configuration file that is Perl, with PPI, without running it.
#
# It understands scalars, arrays and hashes of literals, nested, with all of Perl's quotes and here-documents, variables
# in strings, strings joined with ".", elements set one by one, and push. A value that only Perl can compute is UNKNOWN,
# and so is a variable that any other statement may set. Nothing is guessed.
#
# A node is a hash: "value" is undef, a string, UNKNOWN, an array of nodes, or a hash of nodes; "line" is where it is
# written, undef where nowhere.

package ConfReader;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(min);
use PPI;

our @EXPORT_OK = qw(UNKNOWN is_unknown read_assignments);

use constant UNKNOWN => bless {}, 'ConfReader::Unknown';

my %CLOSING = ('(' => ')', '[' => ']', '{' => '}', '<' => '>');
my %ESCAPES = (n => "\n", t => "\t", r => "\r", e => "\e", a => "\a", f => "\f");
my %CHANGING = map { $_ => 1 } qw(push unshift splice pop shift delete \\);
my $ASSIGNMENT = qr{\A(?:\*\*|\|\||&&|//|<<|>>|[-+*/.%x&|^])?=\z};

# Returns the last value of each variable, a hash of nodes by the name with the sigil, such as $PREFIX or %PluginConf.
# "preset" has the values of scalars before the file. Dies with { line, message } where a quote or bracket has no end,
# or the text is no Perl.
sub read_assignments {
    my ($text, $preset) = @_;
    # A quote that is not closed takes this line end, too.
    my $document = PPI::Document->new(\"$text\n")
        or die { message => 'is not Perl: ' . lcfirst PPI::Document->errstr };
    $document->index_locations;
    require_ends($document);
    my %variables = map { $_ => node($preset->{$_}) } keys %$preset;
    my $self = bless { variables => \%variables }, __PACKAGE__;
    for my $statement ($document->schildren) {
        last if $statement->isa('PPI::Statement::End') || $statement->isa('PPI::Statement::Data');
        my @elements = $statement->isa('PPI::Statement') ? $statement->schildren : ();
        pop @elements if @elements && is($elements[-1], ';');
        $self->assign(@elements) || $self->push_to(@elements) || $self->forget_changed($statement);
    }
    return \%variables;
}

sub is_unknown {
    my ($value) = @_;
    return ref $value eq 'ConfReader::Unknown';
}

sub node {
    my ($value, $line) = @_;
    return { value => $value, line => $line };
}

sub is {
    my ($element, @contents) = @_;
    return $element && $element->isa('PPI::Token') && grep { $element->content eq $_ } @contents;
}

sub opens {
    my ($element, $bracket) = @_;
    return $element && $element->isa('PPI::Structure') && $element->start->content eq $bracket;
}

sub require_ends {
    my ($document) = @_;
    for my $token (grep { $_->significant } $document->tokens) {
        if ($token->isa('PPI::Token::HereDoc')) {
            my $message = 'the text that <<' . $token->terminator . ' begins has no end';
            die { line => $token->line_number, message => $message } if $token->{_damaged};
        } elsif (is_quote($token) && $token->content =~ /\s\z/) {
            my ($opening) = delimited($token);
            die no_end($token, $opening);
        }
    }
    my $open = $document->find(sub { $_[1]->isa('PPI::Structure') && !$_[1]->finish });
    die no_end($open->[-1]->start, $open->[-1]->start->content) if $open;
    return;
}

sub no_end {
    my ($token, $opening) = @_;
    my $closing = $CLOSING{$opening} // $opening;
    return { line => $token->line_number, message => "the $opening here has no $closing that ends it" };
}

sub is_quote {
    my ($token) = @_;
    return grep { $token->isa("PPI::Token::$_") } qw(Quote QuoteLike Regexp);
}

# Whether a token is s///, tr/// or y///.
sub is_edit {
    my ($token) = @_;
    return $token && $token->isa('PPI::Token::Regexp') && !$token->isa('PPI::Token::Regexp::Match');
}

# Returns the delimiter that opens a quote, and the text in it.
sub delimited {
    my ($token) = @_;
    my ($opening, $text) = $token->content =~ /\A(?:[a-z]+\s*)?([^\w\s])(.*)/s;
    chop $text if defined $text;
    return ($opening // ' ', $text);
}

# Statements

# Reads VARIABLE = EXPRESSION, also of an element of a hash. Returns whether the statement is one.
sub assign {
    my ($self, @elements) = @_;
    shift @elements if is($elements[0], qw(our my local));
    my $line = @elements && $elements[0]->line_number;
    my $name = take_variable(\@elements) // return 0;
    my $path = $self->take_subscripts(\@elements);
    return 0 unless $path && is(shift @elements, '=');
    my @parts = items(@elements);
    return 0 if @parts > 1 || grep { is($_, ',', '=>') } @elements;
    my @values = $self->evaluate(@elements);
    my $sigil = substr $name, 0, 1;
    if (@$path) {
        return 0 unless $sigil eq '$';
        substr($name, 0, 1) = '%';
        my $top = $self->{variables}{$name} // node({}, $line);
        $self->{variables}{$name} = with_element($top, $path, node(scalar_of(@values), $line));
        return 1;
    }
    my $value = $sigil eq '@' ? \@values : $sigil eq '%' ? hash_of(@values) : scalar_of(@values);
    $self->{variables}{$name} = node($value, $line);
    return 1;
}

sub push_to {
    my ($self, @elements) = @_;
    return 0 unless is(shift @elements, 'push');
    @elements = inside($elements[0]) if @elements == 1 && opens($elements[0], '(');
    my $line = @elements && $elements[0]->line_number;
    my $name = take_variable(\@elements) // return 0;
    return 0 unless $name =~ /\A\@/ && is(shift @elements, ',');
    my $old = $self->{variables}{$name} // node([]);
    return 0 unless ref $old->{value} eq 'ARRAY';
    $self->{variables}{$name} = node([@{ $old->{value} }, $self->list(@elements)], $old->{line} // $line);
    return 1;
}

# Takes $NAME or ${NAME} off the elements and returns $NAME; undef where they begin with something else.
sub take_variable {
    my ($elements) = @_;
    my ($first, $second) = @$elements;
    return unless $first;
    if ($first->isa('PPI::Token::Symbol') && $first->content =~ /\A[\$\@%]/) {
        return (shift @$elements)->content;
    }
    return unless is($first, qw($ @ %)) && opens($second, '{');
    my $name = join '', map { $_->content } inside($second);
    return unless $name =~ /\A[A-Za-z_]\w*\z/;
    splice @$elements, 0, 2;
    return $first->content . $name;
}

# Takes {key}{key} off the elements and returns the keys; undef where a subscript is not a literal.
sub take_subscripts {
    my ($self, $elements) = @_;
    my @path;
    while (@$elements && (is($elements->[0], '->') || opens($elements->[0], '{') || opens($elements->[0], '['))) {
        shift @$elements if is($elements->[0], '->');
        my $subscript = shift @$elements;
        return unless opens($subscript, '{');
        my @key = inside($subscript);
        my $key = @key == 1 && $key[0]->isa('PPI::Token') && $key[0]->content =~ /\A\w+\z/ ? $key[0]->content
            : scalar_of($self->evaluate(@key));
        return if ref $key || !defined $key;
        push @path, $key;
    }
    return \@path;
}

# Makes unknown what a statement that is not understood may set.
sub forget_changed {
    my ($self, $statement) = @_;
    my @tokens = grep { $_->significant } $statement->tokens;
    for my $at (0 .. $#tokens) {
        my $token = $tokens[$at];
        my ($next, $after) = @tokens[$at + 1, $at + 2];
        next unless $token->isa('PPI::Token::Symbol');
        my @before = @tokens[($at > 1 ? $at - 2 : 0) .. $at - 1];
        my $changed = is($next, '++', '--', '{', '[', '->') || ($next && $next->content =~ $ASSIGNMENT)
            || (is($next, '=~') && is_edit($after)) || grep { $CHANGING{ $_->content } } @before;
        $self->forget($token) if $changed;
    }
    for my $list (@{ $statement->find(\&is_assigned_list) || [] }) {
        $self->forget($_) for @{ $list->find('PPI::Token::Symbol') || [] };
        my $name = take_variable([$list->sprevious_sibling || (), $list]);
        $self->{variables}{$name} = node(UNKNOWN, $list->line_number) if defined $name;
    }
    return;
}

sub is_assigned_list {
    my (undef, $element) = @_;
    my $next = $element->isa('PPI::Structure') && $element->snext_sibling;
    return $next && $next->content =~ $ASSIGNMENT;
}

sub forget {
    my ($self, $symbol) = @_;
    $self->{variables}{ $symbol->symbol } = node(UNKNOWN, $symbol->line_number);
    return;
}

# Expressions

# Returns the significant elements in a bracket.
sub inside {
    my ($structure) = @_;
    return map { $_->isa('PPI::Statement') ? $_->schildren : $_ } $structure->schildren;
}

# Returns the items of a list, each an array of elements, without the commas. A word before => is an item of its own.
sub items {
    my @items = ([]);
    for my $element (@_) {
        if (is($element, ',', '=>')) {
            push @items, [];
        } else {
            push @{ $items[-1] }, $element;
        }
    }
    return grep { @$_ } @items;
}

# Returns the nodes of a list.
sub list {
    my ($self, @elements) = @_;
    return map { $self->evaluate(@$_) } items(@elements);
}

# Returns the nodes of one item: several for a list in parentheses, and UNKNOWN for more than literals.
sub evaluate {
    my ($self, @elements) = @_;
    return node(UNKNOWN) unless @elements;
    my $line = $elements[0]->line_number;
    my @operands = ([]);
    for my $element (@elements) {
        if (is($element, '.')) {
            push @operands, [];
        } else {
            push @{ $operands[-1] }, $element;
        }
    }
    my @values = map { [$self->term(@$_)] } @operands;
    return @{ $values[0] } if @values == 1;
    my @strings = map { scalar_of(@$_) } @values;
    return node((grep { ref } @strings) ? UNKNOWN : join('', map { $_ // '' } @strings), $line);
}

sub term {
    my ($self, @elements) = @_;
    my $first = $elements[0] or return node(UNKNOWN);
    my $line = $first->line_number;
    if (defined(my $name = take_variable(\@elements))) {
        my $value = $self->{variables}{$name} && $self->{variables}{$name}{value};
        return node($value, $line) if !@elements && $name =~ /\A\$/;
        return @{ $value // [] } if !@elements && $name =~ /\A\@/ && (!defined $value || ref $value eq 'ARRAY');
        return node(UNKNOWN, $line);
    }
    return node("-$elements[1]", $line) if @elements == 2 && is($first, '-') && $elements[1]->isa('PPI::Token');
    return node(UNKNOWN, $line) if @elements > 1;
    return $self->bracketed($first) if opens($first, '(');
    return node([$self->bracketed($first)], $line) if opens($first, '[');
    return node(hash_of($self->bracketed($first)), $line) if opens($first, '{');
    return map { node($_, $line) } $first->literal if $first->isa('PPI::Token::QuoteLike::Words');
    return node($self->literal($first), $line);
}

sub bracketed {
    my ($self, $structure) = @_;
    my @elements = inside($structure);
    die no_end($structure->start, $structure->start->content) if grep { is($_, ';') } @elements;
    return $self->list(@elements);
}

# Returns the value of a token.
sub literal {
    my ($self, $token) = @_;
    my $text = $token->content;
    return $text if is($token->snext_sibling, '=>') && $text =~ /\A-?[A-Za-z_]\w*\z/;
    return undef if $token->isa('PPI::Token::Word') && $text eq 'undef';
    return '' . $token->literal if $token->isa('PPI::Token::Number') && !$token->isa('PPI::Token::Number::Version');
    if ($token->isa('PPI::Token::HereDoc')) {
        my @lines = here_document($token);
        return $text =~ /[`]/ ? UNKNOWN : $text =~ /['\\]/ ? join('', @lines) : $self->interpolated(join '', @lines);
    }
    return UNKNOWN unless $token->isa('PPI::Token::Quote');
    my ($opening, $quoted) = delimited($token);
    return $self->interpolated($quoted)
        if $token->isa('PPI::Token::Quote::Double') || $token->isa('PPI::Token::Quote::Interpolate');
    my $closing = $CLOSING{$opening} // $opening;
    return $quoted =~ s/\\([\\\Q$opening$closing\E])/$1/gr;
}

# PPI takes off the indentation of the terminator, Perl the smallest one of the lines.
sub here_document {
    my ($token) = @_;
    my @lines = $token->heredoc;
    return @lines unless $token->content =~ /\A<<~/;
    my $indentation = min(map { length } map { /\A([ \t]*)\S/ ? $1 : () } @lines) // 0;
    return map { s/\A[ \t]{0,$indentation}//r } @lines;
}

# Returns a string in double quotes with its escapes and variables replaced.
sub interpolated {
    my ($self, $text) = @_;
    my $result = '';
    while ($text =~ /\G(?:([^\\\$\@]+)|\\x\{([[:xdigit:]]+)\}|\\(.)|([\$\@])(?:\{\s*(\w+)\s*\}|(\w+)|(?=\{))|(.))/gcs) {
        my ($plain, $code, $escaped, $sigil, $name, $other) = ($1, $2, $3, $4, $5 // $6, $7);
        if (defined $code) {
            return UNKNOWN if length $code > 6;
            $result .= chr hex $code;
        } elsif (defined $escaped) {
            return UNKNOWN if $escaped =~ /[xcNULEQuld0]/;
            $result .= $ESCAPES{$escaped} // $escaped;
        } elsif (defined $sigil) {
            return UNKNOWN if $sigil eq '@' || !defined $name || substr($text, pos $text) =~ /\A(?:[\[\{]|->|::)/;
            my $value = $self->{variables}{"\$$name"} && $self->{variables}{"\$$name"}{value};
            return UNKNOWN if ref $value;
            $result .= $value // '';
        } else {
            $result .= $plain // $other;
        }
    }
    return $result;
}

sub scalar_of {
    return @_ ? $_[-1]{value} : undef;
}

sub hash_of {
    my @items = @_;
    return UNKNOWN if @items % 2;
    my %hash;
    while (my ($key, $value) = splice @items, 0, 2) {
        return UNKNOWN if ref $key->{value} || !defined $key->{value};
        $hash{ $key->{value} } = node($value->{value}, $key->{line});
    }
    return \%hash;
}

sub with_element {
    my ($top, $path, $value) = @_;
    my ($key, @rest) = @$path or return $value;
    my $hash = $top->{value} // {};
    return node(UNKNOWN, $value->{line}) unless ref $hash eq 'HASH';
    my $inner = $hash->{$key} // node(undef, $value->{line});
    return node({ %$hash, $key => with_element($inner, \@rest, $value) }, $top->{line} // $value->{line});
}

1;
