# Port 80 of this machine: can it be opened, who has it, who answers there?
package Port80;
use strict;
use warnings;
use Exporter qw(import);
use NginxConfiguration qw(output);
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 IPPROTO_IPV6 IPV6_V6ONLY);

our @EXPORT_OK = qw(holder nginx_has request way_to why_not);

# Can it be opened at this moment? Undefined: yes; otherwise why not.
sub why_not {
    my ($where) = @_;
    my $family = $where eq '80' ? AF_INET : AF_INET6;
    my $any = $where eq '80' ? pack_sockaddr_in(80, INADDR_ANY) : pack_sockaddr_in6(80, "\0" x 16);
    my $try;
    my $good = socket($try, $family, SOCK_STREAM, 0)
      && setsockopt($try, SOL_SOCKET, SO_REUSEADDR, 1)
      && ($family == AF_INET || setsockopt($try, IPPROTO_IPV6, IPV6_V6ONLY, 1))
      && bind($try, $any)
      && listen($try, 1);
    return $good ? undef : "$!";
}

# Who has port 80, as far as the kernel tells.
sub holder {
    my ($said) = output(q{ss -Hltnp 'sport = :80' 2>/dev/null});
    return $said =~ /\(\("([^"]+)"/ ? $1 : 'another program';
}

# A nginx that runs keeps the sockets that it has, when it reads its files again.
sub nginx_has {
    my ($where) = @_;
    my ($said) = output(q{ss -Hltnp 'sport = :80' 2>/dev/null});
    my $address = $where eq '80' ? '0.0.0.0:80' : $where;
    return $said =~ /\s\Q$address\E\s.*\(\("nginx"/;
}

# A request over a connected socket: the status of the answer, and whether it came from my-app, which sends a mark
# of its own back. What a load balancer would say goes before it.
sub request {
    my ($host, $family, $address, $before) = @_;
    my $mark = join '', map { sprintf '%08x', int rand 2**32 } 1 .. 2;
    $host //= "$mark.my-app.invalid";
    my $answer = '';
    eval {
        local $SIG{ALRM} = sub { die "too late\n" };
        local $SIG{PIPE} = 'IGNORE';
        alarm 3;
        my $to;
        socket($to, $family, SOCK_STREAM, 0) && connect($to, $address) or die "not connected: $!\n";
        syswrite $to, ($before // '') . "GET /socket.io/ HTTP/1.1\r\nHost: $host\r\nX-My-App-Mark: $mark\r\n"
          . "User-Agent: nginx-site\r\nConnection: close\r\n\r\n";
        while ($answer !~ /\r\n\r\n/ && length $answer < 65536) { sysread $to, $answer, 4096, length $answer or last }
        alarm 0;
        1;
    } or do { alarm 0; return (0, 0) if $answer eq '' };
    my ($status) = $answer =~ m{^HTTP/1\.\d (\d+)};
    return ($status // 0, $answer =~ /^X-My-App-Mark: \Q$mark\E\r$/mi ? 1 : 0);
}

# How to reach a wildcard socket from here: a site may have an address of its own.
sub way_to {
    my ($where, $found) = @_;
    my %taken = map { $_ => 1 } map { keys %{ $_->{on} } } @{ $found->{servers} };
    $taken{'127.0.0.1'} = $taken{'[::1]'} = 1 if $taken{localhost};
    my ($four) = grep { !$taken{$_} } '127.0.0.1', '127.80.80.80', '127.80.80.81';
    my @four = $four ? (AF_INET, pack_sockaddr_in(80, inet_aton($four))) : ();
    return @four if $where eq '80';
    # IPv6 may be switched off by sysctl: then there is a socket, and nothing to connect to.
    my $six = pack_sockaddr_in6(80, inet_pton(AF_INET6, '::1'));
    my $try;
    return (AF_INET6, $six) if !$taken{'[::1]'} && socket($try, AF_INET6, SOCK_DGRAM, 0) && connect($try, $six);
    return $found->{dual} ? @four : ();
}

1;
