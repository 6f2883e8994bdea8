# Backend plugin for NfSen: submits the flow files of each time slot to the collector of dnsvigil, decides alerts by
# the collector's verdicts, records alerts as findings, and answers the page. See docs/nfsen.md.
#
# nfsend loads the plugin once and forks for every call, so nothing is kept from one call to the next.

package DnsVigil;

use strict;
use warnings;

use Fcntl ();
use HTTP::Tiny;
use JSON::PP;
use List::Util qw(max min);
use POSIX ();
use Sys::Syslog;
use Time::HiRes qw(sleep time);

use NfConf;
use NfProfile;
use NfSen;

our $VERSION = 130;

# What the page asks for, and which of its arguments, percent-encoded, go on to the collector.
our %cmd_lookup = (
    'verdicts' => sub { look_up(@_, '/api/flows/verdicts', qw(exporter slot)) },
    'series'   => sub { look_up(@_, '/api/flows/series', qw(exporter protocol service resolver measure hours)) },
    'talkers'  => sub { look_up(@_, '/api/flows/talkers', qw(exporter element)) },
    'findings' => sub { look_up(@_, '/api/findings', qw(state)) },
);

my $SLOT = 300;                        # seconds, NfSen's cycle and the collector's slot
my $HANDED_OVER = 12;                  # slots: after an outage of an hour nothing is missing
my $FILES_A_REQUEST = 100;             # the collector takes 64 KiB
# How long to wait for the verdicts on a slot: all alerts together from when NfSen wrote their flow files, and then each.
# NfSen itself waits 30 s for a condition.
my $SLOT_SECONDS = 15;
my $ALERT_SECONDS = 3;
my $NFDUMP_SECONDS = 5;
my $PAGE_SECONDS = 1.5;                # NfSen's pages wait 2 s
my $PAGE_LINE = 32_000;                # bytes; NfSen's pages read lines up to 65,534 bytes
my $LARGEST_ANSWER = 8 * 2**20;
my $SHOWN = 10;                        # verdicts in a log line or a finding
my @MEASURES = qw(flows packets bytes);
my @SERIES_KEYS = qw(protocol service resolver measure anomaly);
my @ANOMALIES = qw(spike drop shift_up shift_down threshold);

# An alert's own flows are compared with the past hour, and the hour around the same time of the past 28 days.
my $HISTORY_DAYS = 28;
my $FEWEST_VALUES = 12;
my $FEWEST_FLOWS = 20;                 # now, or as a rule; of fewer, each is a spike
my $LARGEST_DEVIATION = 6;             # spreads
my $SMALLEST_SPREAD = 0.05;            # of the median

my %conf;

# Called once by nfsend; 0 switches the plugin off.
sub Init {
    my @wrong = configure();
    report('err', "$_; the plugin is disabled until this is corrected and nfsen reloaded") for @wrong;
    return 0 if @wrong;
    my ($answer, $reason) = fetch('GET', '/api/findings?state=open', undef, $conf{timeout});
    report('warning', "$reason; until it does, alerts are decided by their own flows") unless defined $answer;
    return 1;
}

sub Cleanup {
    return 1;
}

# Periodic processing: submits the live profile's files of this slot, and again those of the hour before it, in case the
# collector was down.
sub run {
    my ($arg) = @_;
    return if $arg->{profile} ne 'live' || $arg->{profilegroup} ne '.';
    my $newest = NfSen::ISO2UNIX($arg->{timeslot});
    my %live = NfProfile::ReadProfile('live', '.');
    my @channels = sort keys %{ $live{channel} };
    my @files;
    for my $slot (map { $newest - $_ * $SLOT } reverse 0 .. $HANDED_OVER - 1) {
        my $name = 'nfcapd.' . NfSen::UNIX2ISO($slot);
        my $folder = NfSen::SubdirHierarchy($slot);
        for my $channel (@channels) {
            my $path = join '/', grep { length } $NfConf::PROFILEDATADIR, 'live', $channel, $folder, $name;
            if (-f $path) {
                push @files, { path => $path, exporter => $channel };
            } elsif ($slot == $newest) {
                report('warning', "there is no flow file of $channel for $arg->{timeslot}");
            }
        }
    }
    while (my @some = splice @files, 0, $FILES_A_REQUEST) {
        my ($answer, $reason) = ask('POST', '/api/flows/files', { files => \@some }, $conf{timeout});
        next if $answer;
        report('err', "cannot submit the files of $arg->{timeslot}: $reason; the slots of the next hour try again");
        return;
    }
    return;
}

# Alert condition: returns 1 if the alert is to fire.
sub alert_condition {
    my ($arg) = @_;
    my $evaluation = eval { evaluate($arg->{alert}, $arg->{alertfile}, $arg->{timeslot}) };
    if (!$evaluation) {
        report('err', "cannot decide alert $arg->{alert} for $arg->{timeslot}: $@");
        return 0;
    }
    my @found = @{ $evaluation->{verdicts} };
    report('info', "alert $arg->{alert}, $arg->{timeslot}, by $evaluation->{by}: "
        . ($evaluation->{note} ? "$evaluation->{note}; " : '')
        . (@found ? join '; ', map { told($_) } @found[0 .. min($#found, $SHOWN - 1)] : 'nothing unusual'));
    return @found ? 1 : 0;
}

# Alert action: records the alert as a finding.
sub alert_action {
    my ($arg) = @_;
    my ($alert, $timeslot) = @$arg{qw(alert timeslot)};
    my $finding = eval { finding($alert, $timeslot) };
    if (!$finding) {
        report('err', "cannot make a finding of alert $alert, $timeslot: $@");
        return 0;
    }
    my ($answer, $reason) = ask('POST', '/api/findings', $finding, $conf{timeout});
    if ($answer) {
        # A busy collector takes it, and gives it a number later.
        my $number = ref $answer eq 'HASH' && defined $answer->{id} ? $answer->{id} : 'to come';
        report('info', "alert $alert, $timeslot, is recorded as finding $number");
        return 1;
    }
    report('err', "cannot record alert $alert, $timeslot: $reason: " . encoder()->encode($finding));
    return 0;
}

# The configuration

sub configure {
    my $given = $NfConf::PluginConf{DnsVigil};
    $given = {} unless defined $given;
    return '$PluginConf{DnsVigil} in nfsen.conf is not a hash, { ... }' if ref $given ne 'HASH';
    %conf = (
        url     => 'http://127.0.0.1:9953',
        timeout => 5,
        # the collector's, which its group may read
        token_file => '/var/lib/dnsvigil/api-token',
        nfdump  => "$NfConf::PREFIX/nfdump",
        # those that rules/nfsen/ adds
        alerts => {
            'any-change'     => {},
            'dns-change'     => { service => [ 'dns', 'dot' ] },
            'dns-tcp-change' => { service => [ 'dns', 'dot' ], protocol => 'tcp' },
        },
    );
    my @wrong = map { "\$PluginConf{DnsVigil} has an unknown key $_; there are " . join ', ', sort keys %conf }
        grep { !exists $conf{$_} } sort keys %$given;
    %conf = (%conf, %$given);
    my $url = defined $conf{url} ? $conf{url} : '';
    if ($url !~ m{\A(https?)://(?:[^\s/@]+@)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d+)?/?\z}) {
        push @wrong, 'url is not http://HOST:PORT or https://HOST:PORT';
    } elsif ($1 eq 'https') {
        my ($works, $reason) = HTTP::Tiny->can_ssl;
        push @wrong, "url is https, which needs libio-socket-ssl-perl: $reason" unless $works;
    }
    $conf{url} =~ s{/\z}{} if @wrong == 0;
    my $timeout = defined $conf{timeout} ? $conf{timeout} : '';
    push @wrong, 'timeout is not a number of seconds from 1 to 10'
        unless $timeout =~ /\A\d+(?:\.\d+)?\z/ && $timeout >= 1 && $timeout <= 10;
    push @wrong, 'token_file is not an absolute path'
        unless defined $conf{token_file} && $conf{token_file} =~ m{\A/};
    push @wrong, wrong_alerts();
    push @wrong, 'there is no program ' . (defined $conf{nfdump} ? $conf{nfdump} : 'nfdump')
        unless defined $conf{nfdump} && $conf{nfdump} =~ m{\A/} && -f $conf{nfdump} && -x _;
    push @wrong, "NfSen's \$CYCLETIME is $NfConf::CYCLETIME s, the collector's slots are $SLOT s"
        if $NfConf::CYCLETIME != $SLOT;
    return @wrong;
}

sub wrong_alerts {
    my $alerts = $conf{alerts};
    return 'alerts is not a hash, { NAME => { ... } }' if ref $alerts ne 'HASH';
    my @wrong;
    for my $alert (sort keys %$alerts) {
        my $series = $alerts->{$alert};
        if (ref $series ne 'HASH') {
            push @wrong, "alerts: $alert is not a hash, { service => 'dns' }";
            next;
        }
        for my $key (sort keys %$series) {
            my @values = listed($series->{$key});
            my %anomaly = map { $_ => 1 } @ANOMALIES;
            my @unknown = $key eq 'anomaly' ? grep { defined && !$anomaly{$_} } @values : ();
            if (!grep { $_ eq $key } @SERIES_KEYS) {
                push @wrong, "alerts: $alert has an unknown key $key; there are " . join ', ', @SERIES_KEYS;
            } elsif (!@values || grep { !defined || ref || !length } @values) {
                push @wrong, "alerts: $key of $alert is neither a name nor a list of names";
            } elsif (@unknown) {
                push @wrong, "alerts: there is no anomaly $unknown[0]; there are " . join ', ', @ANOMALIES;
            }
        }
    }
    return @wrong;
}

# Judging

# Returns what decided ("collector" or "flows"), the verdicts that make the alert fire, and a note. Dies if nothing could
# decide.
sub evaluate {
    my ($alert, $file, $timeslot) = @_;
    my $epoch = NfSen::ISO2UNIX($timeslot);
    my $note = '';
    if (my $series = $conf{alerts}{$alert}) {
        my %info = NfAlert::ReadAlert($alert);
        my @channels = split /\|/, defined $info{channellist} ? $info{channellist} : '';
        die "it has no channels\n" if !@channels;
        my $written = (stat $file)[9] || 0;
        my $deadline = min(max($written + $SLOT_SECONDS, time() + $ALERT_SECONDS), time() + $SLOT_SECONDS);
        my ($verdicts, $reason) = verdicts(\@channels, $epoch, $deadline);
        my @found = map { chosen($_, $series) } @$verdicts;
        return { by => 'collector', verdicts => \@found, note => $reason } if @found || !$reason;
        $note = "$reason, so its own flows decide";
    }
    my ($found, $why) = compare($alert, summary($file), $epoch);
    return { by => 'flows', verdicts => $found, note => join '; ', grep { length } $note, $why };
}

# The collector's verdicts on a slot of some exporters, and why those of others are missing.
sub verdicts {
    my ($exporters, $epoch, $deadline) = @_;
    my (@verdicts, $reason);
    my @waiting = @$exporters;
    while (@waiting) {
        my @still;
        for my $exporter (@waiting) {
            my $left = $deadline - time();
            if ($left <= 0) {
                push @still, $exporter;
                next;
            }
            my $path = '/api/flows/verdicts?' . query({ exporter => $exporter, slot => $epoch });
            my ($answer, $why, $status) = ask('GET', $path, undef, min($conf{timeout}, max($left, 0.1)));
            return (\@verdicts, $why) unless $answer || $status == 404;
            if ($answer && $answer->{complete}) {
                push @verdicts, @{ $answer->{verdicts} || [] };
            } else {
                push @still, $exporter;
            }
        }
        @waiting = @still;
        if (@waiting && time() + 0.5 >= $deadline) {
            return (\@verdicts, 'the collector does not have the whole slot of ' . join ', ', @waiting);
        }
        sleep(0.5) if @waiting;
    }
    return (\@verdicts, '');
}

# The verdict with the anomalies that this alert covers, or nothing.
sub chosen {
    my ($verdict, $series) = @_;
    for my $key (grep { $_ ne 'anomaly' } keys %$series) {
        my $value = $verdict->{$key};
        return unless defined $value && grep { $_ eq $value || $_ eq '*' } listed($series->{$key});
    }
    my @wanted = exists $series->{anomaly} ? listed($series->{anomaly}) : @ANOMALIES;
    my @anomalies = grep { my $name = $_; grep { $_ eq $name } @wanted } @{ $verdict->{anomalies} || [] };
    return @anomalies ? { %$verdict, anomalies => \@anomalies } : ();
}

# Compares flows, packets and bytes of an alert's filtered flows with their past, which NfSen keeps in the alert's round
# robin databases. Returns the verdicts with an anomaly, and the reason if there is too little to compare.
sub compare {
    my ($alert, $now, $epoch) = @_;
    my %past = map { $_ => [ past($alert, $_, $epoch) ] } @MEASURES;
    my $values = min(map { scalar @$_ } values %past);
    return ([], "too little history, $values of $FEWEST_VALUES values") if $values < $FEWEST_VALUES;
    my %usual = map { $_ => median(@{ $past{$_} }) } @MEASURES;
    return ([], "too few flows, $now->{flows}") if max($now->{flows}, $usual{flows}) < $FEWEST_FLOWS;
    my @found;
    for my $measure (@MEASURES) {
        my $usual = $usual{$measure};
        # 1.4826 times the median absolute deviation is the standard deviation of a normal distribution.
        my $spread = max(1.4826 * median(map { abs $_ - $usual } @{ $past{$measure} }), $SMALLEST_SPREAD * $usual, 1);
        my $deviation = ($now->{$measure} - $usual) / $spread;
        next if abs $deviation < $LARGEST_DEVIATION;
        push @found, {
            measure   => $measure,
            value     => $now->{$measure},
            baseline  => $usual,
            spread    => $spread,
            deviation => $deviation,
            anomalies => [ $deviation > 0 ? 'spike' : 'drop' ],
            values    => $values,
        };
    }
    return (\@found, '');
}

# The values of an alert in the past hour, and in the hour around the same time of the days before.
sub past {
    my ($alert, $measure, $epoch) = @_;
    require RRDs;
    my ($start, $step, $names, $rows) = RRDs::fetch("$NfConf::PROFILESTATDIR/~$alert/avg-$measure.rrd",
        'AVERAGE', '-r', $SLOT, '-s', $epoch - $HISTORY_DAYS * 86400 - 3600, '-e', $epoch);
    my $error = RRDs::error();
    die "the past of $measure: $error\n" if defined $error;
    my ($column) = grep { $names->[$_] eq 'last' } 0 .. $#$names;
    my @past;
    for my $row (0 .. $#$rows) {
        my $age = $epoch - ($start + $row * $step);
        my $value = $rows->[$row][$column];
        next unless defined $value && $age > 0;
        my $off = ($age + 1800) % 86400;
        push @past, $value * $SLOT if $age <= 3600 || ($age > 43200 && $off <= 3600);
    }
    return @past;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Flows, packets and bytes of a flow file.
sub summary {
    my ($file) = @_;
    my ($said, $status) = nfdump('-I', '-r', $file);
    my %sum = map { /\A(Flows|Packets|Bytes): (\d+)\z/ ? (lc $1 => $2 + 0) : () } split /\n/, $said;
    return \%sum if $status == 0 && keys %sum == @MEASURES;
    die "nfdump cannot read $file (status $status): $said\n";
}

# A finding

sub finding {
    my ($alert, $timeslot) = @_;
    die "not an alert's name\n" if $alert !~ /\A[A-Za-z0-9+_-]+\z/;
    my $epoch = NfSen::ISO2UNIX($timeslot);
    my $file = "$NfConf::PROFILEDATADIR/~$alert/$alert/nfcapd.$timeslot";
    my %info = NfAlert::ReadAlert($alert);
    my $state = NfAlert::ReadAlertStatus($alert) || {};
    my $now = eval { summary($file) };
    my $evaluation = eval { evaluate($alert, $file, $timeslot) } || { by => 'nobody', verdicts => [], note => $@ };
    my @found = @{ $evaluation->{verdicts} };
    my %evidence = (
        alert      => $alert,
        slot       => iso($epoch),
        channels   => [ split /\|/, defined $info{channellist} ? $info{channellist} : '' ],
        filter     => substr(plain(join '', @{ NfAlert::ReadAlertFilter($alert) || [] }), 0, 1000),
        conditions => [ map { "$_" } @{ $info{condition} || [] } ],
        judged_by  => $evaluation->{by},
        verdicts   => [ @found[0 .. min($#found, $SHOWN - 1)] ],
    );
    $evidence{note} = $evaluation->{note} if $evaluation->{note};
    $evidence{now} = $now if $now;
    # NfSen writes its state after the action: these are the averages up to the slot before.
    for my $span (grep { /\Aavg/ && ref $state->{$_} eq 'HASH' } sort keys %$state) {
        $evidence{"nfsen_$span"} = { map { $_ => ($state->{$span}{$_} || 0) + 0 } @MEASURES };
    }
    my $usual = $evidence{nfsen_avg24h};
    # A configured limit needs no history.
    my @changes = map { my $limit = grep { $_ eq 'threshold' } @{ $_->{anomalies} };
        $limit ? 1 : change($_->{value}, $_->{baseline}) } @found;
    @changes = map { change($now->{$_}, $usual->{$_}) } @MEASURES if !@changes && $now && $usual;
    return {
        detector     => 'nfsen',
        subject_type => 'series',
        subject      => $alert,
        score        => max(0, @changes),
        severity     => 'warning',
        time         => iso($epoch + $SLOT),
        evidence     => \%evidence,
    };
}

# The difference between a value and the usual value, as a share of the larger: 0 for equal values, 1 at most.
sub change {
    my ($value, $usual) = @_;
    return () unless defined $value && defined $usual;
    my $larger = max(abs $value, abs $usual);
    return $larger ? min(1, abs($value - $usual) / $larger) : 0;
}

# The page

# Answers with the collector's JSON in ASCII, in pieces that fit NfSen's lines, to be joined; or with "error".
sub look_up {
    my ($socket, $opts, $path, @names) = @_;
    my @asked = grep { defined $opts->{$_} && length $opts->{$_} } @names;
    if (my @wrong = grep { ref $opts->{$_} || $opts->{$_} !~ /\A[\w.~%-]*\z/a } @asked) {
        return Nfcomm::socket_send_ok($socket, { error => "$wrong[0] is not percent-encoded" });
    }
    $path .= '?' . join '&', map { "$_=$opts->{$_}" } @asked if @asked;
    my ($content, $reason) = fetch('GET', $path, undef, min($conf{timeout}, $PAGE_SECONDS));
    return Nfcomm::socket_send_ok($socket, { error => $reason }) unless defined $content;
    utf8::decode($content);
    $content =~ s/([^\x20-\x7e])/escaped($1)/ge;
    # NfSen's pages drop blanks at the end of a line, so no piece ends in one.
    my @pieces = $content =~ /\G(.{1,$PAGE_LINE})(?<=\S)/gs;
    return Nfcomm::socket_send_ok($socket, { json => \@pieces });
}

# A character in JSON's ASCII form; control characters occur only between JSON tokens, where a blank will do.
sub escaped {
    my ($character) = @_;
    my $code = ord $character;
    return ' ' if $code < 0x20;
    return sprintf '\u%04x', $code if $code < 0x10000;
    return sprintf '\u%04x\u%04x', 0xd7c0 + ($code >> 10), 0xdc00 + ($code & 0x3ff);
}

# The collector

# Returns the decoded answer, or undef and the reason; then the HTTP status, 599 if there is none.
sub ask {
    my ($content, $reason, $status) = fetch(@_);
    return (undef, $reason, $status) unless defined $content;
    my $answer = quietly(sub { JSON::PP->new->utf8->decode($content) });
    return ref $answer ? ($answer, '', $status) : (undef, "$conf{url} does not answer in JSON", $status);
}

# Returns the answer as it came, or undef and the reason; then the HTTP status.
sub fetch {
    my ($method, $path, $content, $seconds) = @_;
    my $http = HTTP::Tiny->new(
        agent => 'dnsvigil-nfsen', timeout => $seconds, max_redirect => 0, max_size => $LARGEST_ANSWER, verify_SSL => 1,
        proxy => undef, http_proxy => undef, https_proxy => undef,
    );
    my %options = (headers => {});
    if ($content) {
        %options = (content => encoder()->encode($content), headers => { 'content-type' => 'application/json' });
    }
    my $token = $conf{url} =~ m{@} ? '' : token();    # HTTP::Tiny makes the header of a password
    $options{headers}{authorization} = "Bearer $token" if length $token;
    my $got = within($seconds, sub { $http->request($method, $conf{url} . $path, \%options) })
        || { status => 599, content => 'no answer in time' };
    my $status = $got->{status};
    return ($got->{content}, '', $status) if $got->{success};
    my $said = $status == 599 ? "does not answer: $got->{content}"
        : "answers $status: "
        . (quietly(sub { JSON::PP->new->utf8->decode($got->{content})->{error} }) || $got->{reason});
    (my $shown = $conf{url}) =~ s{//[^/]*@}{//};
    return (undef, plain("the collector at $shown $said"), $status);
}

# The collector's token; empty where there is none, or none that this user may read: the collector then says what it needs.
sub token {
    return '' unless -f $conf{token_file} && open my $file, '<', $conf{token_file};
    my $line = <$file>;
    close $file;
    return defined $line && $line =~ /\A([!-~]+)\s*\z/ ? $1 : '';
}

sub query {
    my ($values) = @_;
    return HTTP::Tiny->new->www_form_urlencode($values);
}

sub encoder {
    return JSON::PP->new->utf8->canonical;
}

# nfdump

# Returns nfdump's output, both standard output and error, and its exit status. No shell is involved.
sub nfdump {
    my @command = ($conf{nfdump}, @_);
    my ($pid, $output, $said);
    my $done = within($NFDUMP_SECONDS, sub {
        $pid = open $output, '-|';
        die "cannot start nfdump: $!\n" unless defined $pid;
        if (!$pid) {
            # The standard input and output of a call are NfSen's connection.
            POSIX::dup2(1, 2);
            POSIX::dup2(POSIX::open('/dev/null', Fcntl::O_RDONLY()), 0);
            exec { $command[0] } @command or POSIX::_exit(127);
        }
        local $/;
        $said = <$output>;
        close $output;
        1;
    });
    return ($said, $? >> 8 || $? & 127) if $done;
    kill 'KILL', $pid if $pid;    # before $output goes, which waits for it
    die "nfdump does not end within $NFDUMP_SECONDS s\n";
}

# Helpers

# Runs something with a time limit; returns undef if it took longer or died.
sub within {
    my ($seconds, $work) = @_;
    local $SIG{ALRM} = sub { die "too late\n" };
    my $result = quietly(sub {
        Time::HiRes::alarm($seconds);
        my $got = $work->();
        Time::HiRes::alarm(0);
        $got;
    });
    Time::HiRes::alarm(0);
    return $result;
}

# An eval that hides die from nfsend, which logs every die as its own end.
sub quietly {
    my ($work) = @_;
    local $SIG{__DIE__} = 'DEFAULT';
    return eval { $work->() };
}

sub listed {
    my ($values) = @_;
    return ref $values eq 'ARRAY' ? @$values : ($values);
}

sub told {
    my ($verdict) = @_;
    my $name = join '/', grep { defined && !ref && length } @$verdict{qw(exporter resolver protocol service measure)};
    my @numbers = grep { defined $verdict->{$_} } qw(value baseline deviation);
    my $numbers = join ', ', map { sprintf '%s %.6g', $_, $verdict->{$_} } @numbers;
    return "$name " . join('+', @{ $verdict->{anomalies} }) . " ($numbers)";
}

sub iso {
    my ($epoch) = @_;
    return POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $epoch);
}

# Untrusted text as one line without control characters.
sub plain {
    my ($text) = @_;
    $text = '' unless defined $text;
    $text =~ s/\s+/ /g;
    $text =~ s/[^\x20-\x7e]/?/g;
    $text =~ s/ \z//;
    return $text;
}

sub report {
    my ($level, $text) = @_;
    syslog($level, '%s', substr('DnsVigil: ' . plain($text), 0, 8000));
    return;
}

1;
