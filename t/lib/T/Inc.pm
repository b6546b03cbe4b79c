package T::Inc;
use strict;
use warnings;

# Puts perl/lib before @INC, unless a built copy (blib) is being tested.

use Cwd            ();
use File::Basename ();

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');
unshift @INC, "$root/perl/lib" if !grep { m{\bblib\b} } @INC;

sub root { return $root }

1;
