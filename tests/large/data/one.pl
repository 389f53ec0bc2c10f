# One of many processes: takes some memory and forks a child, which works something out, says that it is ready, waits at a
# gate, and hands over what it has; this one sums that up.
use strict;
my $n = shift;
my %texts;
$texts{"key$_"} = [$_ x 3, "t" x ($_ % 40)] for 1 .. 4000;
my $child = open(my $answers, "-|") // die;
if (!$child) {
    my $answer = join(",", map { $texts{"key$_"}[0] * $n % 997 } 1 .. 4000);
    open(my $ready, ">", "ready/$n") or die;
    close $ready;
    open(my $gate, "<", "gate") or die;
    print $answer;
    exit 0;
}
my $sum = 0;
$sum = ($sum * 31 + $_) % 1000003 for split /,/, do { local $/; <$answers> };
close $answers or die;
print "$n $sum\n";
