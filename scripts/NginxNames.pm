# Names that files of another version of my-app use: an edited file beside new ones must still make a whole.
package NginxNames;
use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(dirname);
use NginxConfiguration qw(complaint configuration slurp spew);

our @EXPORT_OK = qw(mend_names);

# Where they are defined. It stands before conf.d/my-app.conf, for nginx wants a log format before its use.
my $names = '/etc/nginx/conf.d/my-app-names.conf';

# All names that a version of the package has had: an edited file that was kept may use any of them.
my $upstream = "{\n    server unix:/run/my-app/my-app.sock;\n    keepalive 32;\n}\n";
my $format   = q{'$remote_addr - $remote_user [$time_local] "$request_method $uri $server_protocol" }
  . q{$status $body_bytes_sent "$http_user_agent"';} . "\n";
my %known = (
    'upstream my_app'                 => "upstream my_app $upstream",
    'upstream my_app_unix_socket'     => "upstream my_app_unix_socket $upstream",
    'log_format my_app'               => "log_format my_app $format",
    'log_format my_app_without_query' => "log_format my_app_without_query $format",
    'map my_app_connection' => "map \$http_upgrade \$my_app_connection {\n    default upgrade;\n    ''      '';\n}\n",
);

# Defines what a file uses and nobody defines, and nothing else. Until nginx takes the configuration it is nginx's
# complaints that tell; then it is what it has read.
sub mend_names {
    my %wanted = map { $_ => 1 } grep { index(slurp($names), $known{$_}) >= 0 } keys %known;
    my %before = %wanted;
    for (1 .. 2 * keys %known) {
        my $complaint = complaint() // last;
        my ($kind, $name) =
            $complaint =~ /host not found in upstream "([^"]*)"/ ? ('upstream',   $1)
          : $complaint =~ /unknown log format "([^"]*)"/         ? ('log_format', $1)
          : $complaint =~ /unknown "([^"]*)" variable/           ? ('map',        $1)
          : $complaint =~ /duplicate upstream "([^"]*)"/         ? ('upstream',   $1)
          : $complaint =~ /duplicate "log_format" name "([^"]*)"/ ? ('log_format', $1)
          :                                                        last;
        my $known = "$kind $name";
        last unless $known{$known} && (!!$wanted{$known} == ($complaint =~ /^duplicate/));
        $wanted{$known} = !$wanted{$known};
        write_names(%wanted);
    }
    my $found = configuration();
    # What does not help is not kept.
    return write_names(%before) unless $found;
    for my $known (keys %known) {
        my $by_others = $found->{defined}{$known} && $found->{defined}{$known} ne $names;
        $wanted{$known} = $found->{used}{$known} && !$by_others;
    }
    write_names(%wanted);
    return;
}

sub write_names {
    my (%wanted) = @_;
    my @wanted = grep { $wanted{$_} } sort keys %known;
    if (!@wanted) {
        unlink $names;
        return;
    }
    my $text = "# Written by nginx-site: names of another version of my-app that files here still use.\n"
      . join '', map { "\n$known{$_}" } @wanted;
    spew($names, $text) if -d dirname($names) && $text ne slurp($names);
    return;
}

1;
