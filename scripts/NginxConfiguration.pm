# nginx's configuration, as nginx reads it: which servers there are, where they listen, which names are defined.
package NginxConfiguration;
use strict;
use warnings;
use Cwd qw(realpath);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Glob qw(bsd_glob);
use File::Path qw(make_path);
use Socket qw(AF_INET AF_INET6 inet_pton);

our @EXPORT_OK = qw(answers_all complaint configuration first_for_all is_debians output slurp spew);

my $nginx = '/etc/nginx';

# A program's output, and whether it succeeded.
sub output { my ($command) = @_; my $said = `{ $command ; } </dev/null`; return ($said, $? == 0) }

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/ = undef;
    return scalar <$file> // '';
}

sub spew {
    my ($path, $text) = @_;
    make_path(dirname($path));
    open my $file, '>', "$path.new" or die "$path could not be written: $!\n";
    print {$file} $text;
    return if close $file and rename "$path.new", $path;
    my $why = $!;
    unlink "$path.new";
    die "$path could not be written: $why\n";
}

# What nginx complains of; nothing: the configuration is good.
sub complaint {
    my ($said, $good) = output('timeout 60 nginx -t -q 2>&1');
    return if $good;
    my ($line) = $said =~ /\[(?:emerg|crit|alert|error)\] (?:\d+#\d+: )?(.*)/;
    return $line // 'nginx -t fails';
}

# The configuration as nginx reads it: what servers there are, which names are defined and used.
sub configuration {
    my ($said) = output('timeout 60 nginx -T -q 2>/dev/null');
    my (undef, @parts) = split /^# configuration file (.+):\n/m, $said;
    return unless @parts;
    my %found = (texts => {@parts}, servers => [], defined => {}, used => {});
    read_file(\%found, $parts[0], 'main', undef, 0);
    return \%found;
}

# A file's words; what separates them begins with a zero byte.
sub words {
    my ($text) = @_;
    my @words;
    while ($text =~ /\G(?:\s|\#[^\n]*\n?)*(?:([;{}])|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'
                     |((?:\\.|\$\{|[^\s;{}"'\#\\])(?:\\.|\$\{|[^\s;{\\])*))/gcxs) {
        push @words, defined $1 ? "\0$1" : $2 // $3 // $4;
        # What is in such a block is a program in another language.
        if (defined $4 && $4 =~ /_by_lua_block$/ && $text =~ /\G\s*(\{(?:[^{}]++|(?1))*\})/gc) {
            push @words, "\0{", "\0}";
        }
    }
    return @words;
}

sub read_file {
    my ($found, $file, $context, $server, $depth) = @_;
    return if $depth > 20 || !defined $found->{texts}{$file};
    my (@outer, @said);
    for my $word (words($found->{texts}{$file})) {
        if ($word eq "\0{") {
            push @outer, [$context, $server];
            my $block = $said[0] // '';
            if ($context eq 'main' && $block eq 'http') {
                $context = 'http';
            }
            elsif ($context eq 'main' && $block =~ /^(?:stream|mail)$/) {
                $context = $block;
            }
            elsif ($context =~ /^(?:stream|mail)$/ && $block eq 'server') {
                # Its `listen` alone is of interest.
            }
            elsif ($context eq 'http' && $block eq 'server') {
                $context = 'server';
                $server  = { file => $file, names => [], on => {} };
                push @{ $found->{servers} }, $server;
            }
            else {
                $found->{defined}{"upstream $said[1]"} = $file if $block eq 'upstream' && $context eq 'http';
                $found->{defined}{ 'map ' . substr $said[2], 1 } = $file if $block eq 'map' && @said > 2;
                $context = 'other';
            }
            @said = ();
        }
        elsif ($word eq "\0}") {
            my $before = pop @outer or return;
            ($context, $server) = @{$before};
            @said = ();
        }
        elsif ($word eq "\0;") {
            directive($found, $file, $context, $server, $depth, @said);
            @said = ();
        }
        else {
            push @said, $word;
        }
    }
    return;
}

sub directive {
    my ($found, $file, $context, $server, $depth, $name, @values) = @_;
    return unless defined $name && @values;
    if ($name eq 'include') {
        my $pattern = $values[0] =~ m{^/} ? $values[0] : "$nginx/$values[0]";
        read_file($found, $_, $context, $server, $depth + 1) for sort { $a cmp $b } bsd_glob($pattern);
    }
    elsif ($name eq 'listen' && $context eq 'server') {
        my ($address, %option) = ($values[0], map { $_ => 1 } @values);
        $server->{listens} = 1;
        # QUIC's port 80 is another one.
        return if $option{quic};
        my $where = on_port_80($address) // return;
        $server->{on}{$where} = $option{default_server} || $option{default} ? 'default' : 'plain';
        $found->{dual} = 1 if $option{'ipv6only=off'};
        $found->{proxied}{$where} = 1 if $option{proxy_protocol};
    }
    elsif ($name eq 'listen' && $context =~ /^(?:stream|mail)$/) {
        my $udp = grep { $_ eq 'udp' } @values;
        $found->{not_http} = [$context, $file] if !$udp && on_port_80($values[0]);
    }
    elsif ($name eq 'server_name' && $context eq 'server') {
        push @{ $server->{names} }, @values;
    }
    elsif ($name eq 'log_format') {
        $found->{defined}{"log_format $values[0]"} = $file;
    }
    elsif ($name eq 'access_log' && @values > 1) {
        push @{ $found->{used}{"log_format $values[1]"} }, $file;
    }
    elsif ($name eq 'proxy_pass' && $values[0] =~ m{^http://([^/:]+)}) {
        push @{ $found->{used}{"upstream $1"} }, $server ? $server->{file} : $file;
    }
    for my $value (@values) {
        push @{ $found->{used}{"map $1"} }, $file while $value =~ /\$\{?(my_app_\w+)/g;
    }
    return;
}

# Where a `listen` is, if on port 80: '80' and '[::]:80' are the wildcard sockets, anything else is one address.
sub on_port_80 {
    my ($text) = @_;
    return if $text =~ /^unix:/;
    my ($host, $port) = $text =~ /^\d+(?:-\d+)?$/ ? ('*', $text) : $text =~ /^(\[[^\]]*\]|[^:]+)(?::([\d-]+))?$/;
    return unless defined $host;
    my ($first, $last) = split /-/, $port // 80;
    return unless $first <= 80 && 80 <= ($last // $first);
    return '80' if $host eq '*' || (inet_pton(AF_INET, $host) // '') eq "\0" x 4;
    return '[::]:80' if $host =~ /^\[(.*)\]$/ && (inet_pton(AF_INET6, $1) // '') eq "\0" x 16;
    return $host;
}

# Debian's own default site, as Debian made it, is nobody's.
sub is_debians {
    my ($file) = @_;
    my $default = "$nginx/sites-available/default";
    # /etc/nginx itself may be a link.
    return 0 unless (realpath($file) // '') eq (realpath($default) // '-');
    my ($conffiles) = output(q{dpkg-query -W -f '${Conffiles}\n' nginx-common 2>/dev/null});
    my ($sum) = $conffiles =~ /^ \Q$default\E ([0-9a-f]+)/m or return 0;
    return (output("md5sum $default"))[0] =~ /^\Q$sum\E /;
}

# Who answers every Host on a socket: who says so, or who is asked first and has no name.
sub answers_all {
    my ($where, @servers) = @_;
    my @there = grep { $_->{on}{$where} } @servers;
    my ($said) = grep { $_->{on}{$where} eq 'default' } @there;
    return $said if $said;
    return unless @there;
    # "_" and "--" are no names that anybody asks for.
    return (grep { /[^\W_]/ } @{ $there[0]{names} }) ? undef : $there[0];
}

# Who has a regular expression for a name that every Host matches, on port 80. nginx asks the one that it reads first.
sub first_for_all {
    my ($first) = grep { my $server = $_; ($server->{on}{'80'} || $server->{on}{'[::]:80'}) && grep { /^~\^?\.[*+]?\$?$/ } @{ $server->{names} } } @_;
    return $first;
}

1;
