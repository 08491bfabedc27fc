# One connection of an app in Perl; the same job as run.php.
use strict;
use warnings;
use DBI;
use JSON::PP;

binmode STDIN;
binmode STDOUT;
my $json = JSON::PP->new->utf8->allow_nonref;
my $job = do { local $/; $json->decode(scalar <STDIN>) };
my $db = DBI->connect("dbi:SQLite:dbname=$job->{db}", '', '', { RaiseError => 1, PrintError => 0, sqlite_unicode => 1 });
my @results;
for my $step (@{ $job->{steps} }) {
    my $result = eval {
        if (!ref $step) {
            $step eq 'begin' ? $db->begin_work : $step eq 'commit' ? $db->commit : $db->rollback;
            return {};
        }
        my $statement = $db->prepare($step->[0]);
        my $changes = $statement->execute(@{ $step->[1] });
        my $rows = $statement->{NUM_OF_FIELDS} ? $statement->fetchall_arrayref : [];
        return { rows => $rows, changes => $changes + 0, id => $db->sqlite_last_insert_rowid + 0 };
    };
    push @results, defined $result ? $result : { error => "$@" };
    last if !defined $result;
}
print $json->encode(\@results);
