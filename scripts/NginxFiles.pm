# The package's files below /etc/nginx, and the links that enable its site.
package NginxFiles;
use strict;
use warnings;
use Cwd qw(realpath);
use Exporter qw(import);
use File::Basename qw(basename);
use NginxConfiguration qw(complaint slurp spew);

our @EXPORT_OK = qw($aside $listens @links $masters $nginx $shared $site @files
  bring_back is_ours link_now missing_files take_back unlink_site);

our $nginx   = '/etc/nginx';
our $masters = '/usr/share/my-app/nginx';

# Below $nginx, and below $masters.
our $shared = 'conf.d/my-app.conf';
our $site   = 'sites-available/my-app';
our @files  = ($shared, $site, 'snippets/my-app.conf', 'snippets/my-app-proxy.conf');

# Where the link may be: nginx reads a folder in byte order, so it sorts last. nginx.org's nginx has the second alone.
our @links = ("$nginx/sites-enabled/~my-app", "$nginx/conf.d/~my-app.conf");

# Where copies of dpkg's go that nginx must not read.
our $aside = '/var/backups';

# Where the site listens; written by nginx-site.
our $listens = "$nginx/snippets/my-app-listen.conf";

# A path without the links in it; there may be nothing where the last one leads. /etc/nginx itself may be a link.
sub real { my ($path) = @_; return realpath($path) // $path }

# The links that enable the site; ours first. An admin may have made another, as it is the custom.
sub links_now {
    my @all = (@links, map { glob "$nginx/$_/*" } 'sites-enabled', 'conf.d');
    my %seen;
    return grep { !$seen{$_}++ && -l && real($_) eq real("$nginx/$site") } @all;
}

sub link_now { my ($link) = links_now(); return $link }

# Gives the links that are still there. What is no link is somebody's file.
sub unlink_site { unlink links_now(), $listens; return links_now() }

sub is_ours {
    my ($file) = @_;
    return 1 if grep { $_ eq $file } @links, "$nginx/$shared";
    return real($file) eq real("$nginx/$site");
}

sub missing_files { return grep { !-e "$nginx/$_" } @files }

# Brings files back as they were when they came. Gives their names.
sub bring_back {
    my (@missing) = @_;
    spew("$nginx/$_", slurp("$masters/$_")) for @missing;
    return @missing;
}

# nginx may read a folder twice, or where its files do not belong: inside of a server, say. Then a file of ours would
# keep it from starting, and goes away, as long as nobody has changed it. So does a copy that dpkg has made, where
# nginx reads whatever is in the folder; it may have an admin's words, so it is kept below $aside. Gives what nginx
# complained of, and which files are gone.
sub take_back {
    my ($complaint, %gone);
    while (defined(my $wrong = complaint())) {
        $complaint //= $wrong;
        my ($file) = $wrong =~ m{ in \Q$nginx\E/(\S+):\d+$};
        # The other one of two definitions may be the one that nginx complains of.
        $file = $shared if $wrong =~ /^duplicate / && !is_one_of_ours($file // '');
        if (defined $file && is_one_of_ours($file)) {
            my $text = slurp("$nginx/$file");
            spew("$aside/" . basename($file), $text) if $file =~ /\.dpkg-/;
            if (unlink "$nginx/$file") {
                $gone{$file} = $text;
                next;
            }
        }
        # It was not that, or not alone.
        spew("$nginx/$_", $gone{$_}) for keys %gone;
        return;
    }
    return ($complaint, sort keys %gone);
}

# A file of the package as it came, or beside one of its files a copy of dpkg's.
sub is_one_of_ours {
    my ($file) = @_;
    my ($name, $copy) = $file =~ /^(.*?)(\.dpkg-(?:dist|new|old))?$/;
    return 0 unless -f "$nginx/$file" && grep { $_ eq $name } @files;
    return $copy || slurp("$nginx/$file") eq slurp("$masters/$file");
}

1;
