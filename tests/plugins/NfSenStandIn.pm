# Stands in for nfsend: as much of NfSen's modules as a plugin calls, and calls of the plugin the way nfsend makes them.
#
#   perl -I tests/plugins -I plugins/nfsen -MNfSenStandIn -e NfSenStandIn::call
#
# reads {"conf", "pluginconf", "live", "alerts", "calls": [[function, arguments], ...]} from the file that $NFSEN_WORLD
# names, loads and initializes the plugin, and makes each call. Standard output is nfsend's connection. What the plugin returns
# goes to $NFSEN_RESULT, one JSON value a line: first what Init returns, and then what each call does; what it logs goes
# to $NFSEN_LOG.

package NfSenStandIn;

use strict;
use warnings;

use JSON::PP;
use POSIX ();
use Time::Local ();

BEGIN { $INC{"$_.pm"} = __FILE__ for qw(NfConf NfProfile NfSen NfAlert Nfcomm Sys/Syslog) }

my %world;

sub read_file {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!";
    local $/;
    return scalar <$in>;
}

sub append {
    my ($path, $line) = @_;
    return unless $path;
    open my $out, '>>', $path or die "$path: $!";
    print {$out} "$line\n";
    close $out;
    return;
}

sub call {
    %world = %{ decode_json(read_file($ENV{NFSEN_WORLD})) };
    {
        no strict 'refs';
        ${"NfConf::$_"} = $world{conf}{$_} for keys %{ $world{conf} };
    }
    %NfConf::PluginConf = (DnsVigil => $world{pluginconf}) if exists $world{pluginconf};
    $SIG{__DIE__} = sub { Sys::Syslog::syslog('err', "PANIC Comm Server dies: $_[0]") };
    $SIG{PIPE} = sub { };
    $SIG{ALRM} = sub { };
    $SIG{CHLD} = sub { 1 while waitpid(-1, POSIX::WNOHANG()) > 0 };
    require DnsVigil;
    die 'not a plugin of version 130' if $DnsVigil::VERSION != 130;
    my $loaded = DnsVigil->Init();
    my $json = JSON::PP->new->allow_nonref->canonical;
    append($ENV{NFSEN_RESULT}, $json->encode($loaded));
    for my $each (@{ $world{calls} || [] }) {
        my ($function, $argument) = @$each;
        my $returned;
        if (my $command = $DnsVigil::cmd_lookup{$function}) {
            $command->(*STDOUT, $argument);
        } else {
            local $SIG{__DIE__} = 'DEFAULT';
            local $SIG{CHLD} = 'DEFAULT';
            no strict 'refs';
            $returned = &{"DnsVigil::$function"}($argument);
        }
        append($ENV{NFSEN_RESULT}, $json->encode($returned));
    }
    DnsVigil->Cleanup();
    return;
}

package Sys::Syslog;

sub import {
    my $caller = caller;
    no strict 'refs';
    *{"${caller}::syslog"} = \&syslog;
    return;
}

sub syslog {
    my ($level, $format, @values) = @_;
    NfSenStandIn::append($ENV{NFSEN_LOG}, "$level " . sprintf $format, @values);
    return;
}

package NfConf;

our (%PluginConf, $PREFIX, $PROFILEDATADIR, $PROFILESTATDIR, $CYCLETIME);

package NfSen;

sub ISO2UNIX {
    my ($year, $month, $day, $hour, $minute) = $_[0] =~ /(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)/;
    return Time::Local::timelocal(0, $minute, $hour, $day, $month - 1, $year);
}

sub UNIX2ISO {
    return POSIX::strftime('%Y%m%d%H%M', localtime $_[0]);
}

sub SubdirHierarchy {
    return POSIX::strftime('%Y/%m/%d', localtime $_[0]);
}

package NfProfile;

sub ReadProfile {
    return (channel => { map { $_ => {} } @{ $world{live} } });
}

package NfAlert;

sub ReadAlert {
    my ($name) = @_;
    return %{ $world{alerts}{$name} || {} };
}

sub ReadAlertFilter {
    my ($name) = @_;
    return $world{alerts}{$name}{filter};
}

sub ReadAlertStatus {
    my ($name) = @_;
    return $world{alerts}{$name}{state};
}

package Nfcomm;

sub socket_send_ok {
    my ($socket, $values) = @_;
    for my $name (sort keys %$values) {
        my $value = $values->{$name};
        print {$socket} ref $value ? map { "_$name=$_\n" } @$value : "$name=$value\n";
    }
    print {$socket} ".\nOK command completed.\n";
    return;
}

1;
