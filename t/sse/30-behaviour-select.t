use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use T::Behaviour;

T::Behaviour->run('Select');
