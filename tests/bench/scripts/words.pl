# Indexes a file of lines: hashes of hashes and arrays of strings, then sorted, joined and dropped twice.
use strict;
use warnings;

for my $turn (1 .. 2) {
    open my $lines, '<', $ARGV[0] or die "$ARGV[0]: $!\n";
    my (%index, %count);
    while (my $line = <$lines>) {
        chomp $line;
        my ($number, $key, @words) = split ' ', $line;
        push @{ $index{$key}{ $number % 1000 } }, [ $number, join('-', reverse @words) ];
        $count{"$_$turn"}++ for @words;
    }
    my $sum = 0;
    for my $key (sort keys %index) {
        for my $group (values %{ $index{$key} }) {
            $sum += length $_->[1] for sort { $a->[0] <=> $b->[0] } @$group;
        }
    }
    print "$sum ", scalar(keys %count), "\n";
}
