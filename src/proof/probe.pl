# Tries connections and says what came of each, with nothing but what perl-base brings.
#
# Standard input has a line for each probe: NUMBER,TRANSPORT,SOURCE,DESTINATION,PORT,WAYS. TRANSPORT is tcp or udp. WAYS
# is `s` for a socket, as any program would use one, and `p` for packets that are handed to the card directly: they
# get past the filter of this host, so that what holds them back is the filter of the destination. Or both.
# Each answer is a line: NUMBER WAY WORD. `neighbour ADDRESS` tells of a destination on a wire of ours that has answered ARP,
# `absent ADDRESS` of one that has not. The last line is `end`.
use strict;
use warnings;
use Socket qw(:DEFAULT inet_pton inet_ntop pack_sockaddr_in6 IPPROTO_IP IPPROTO_IPV6 MSG_DONTWAIT MSG_ERRQUEUE);
use Errno qw(:POSIX);
use Fcntl;

my ($patience, $at_once) = @ARGV;
$| = 1;

# What perl-base has no names for: <linux/in.h>, <linux/in6.h>, <linux/if_packet.h>, <linux/if_ether.h>, <asm/socket.h>.
my ($IP_RECVERR, $IPV6_RECVERR, $IP_FREEBIND) = (11, 25, 15);
my ($AF_PACKET, $ETH_P_IP, $ETH_P_ARP, $SO_ATTACH_FILTER) = (17, 0x0800, 0x0806, 26);
# Above the ports that Linux gives out by itself.
my ($FIRST_PORT, $LAST_PORT) = (61000, 65000);
# What a destination still keeps of the run before must not be taken for an answer to this one.
my $next_port = $FIRST_PORT + int(rand($LAST_PORT - $FIRST_PORT));

sub now {
    open my $uptime, '<', '/proc/uptime' or die "read /proc/uptime: $!\n";
    return (split ' ', scalar <$uptime>)[0];
}

my (@probes, %neighbours);
while (my $line = <STDIN>) {
    chomp $line;
    my ($number, $transport, $source, $destination, $port, $ways) = split /,/, $line;
    push @probes, { number => $number, transport => $transport, source => $source, destination => $destination,
        port => $port, ways => $ways, family => $destination =~ /:/ ? AF_INET6 : AF_INET };
}

sub report {
    my ($probe, $way, $word) = @_;
    return if $probe->{"told $way"}++;
    print "$probe->{number} $way $word\n";
}

# A datagram that the service takes for a question, so that it answers; an empty one where no such is known.
sub question {
    my ($port) = @_;
    return pack('C x47', 0x23) if $port == 123;                                       # NTP, version 4, from a client
    return pack('n6 C n2', 0x1d1d, 0x0100, 1, 0, 0, 0, 0, 2, 1) if $port == 53;       # DNS: the name servers of the root
    return '';
}

sub sockaddr {
    my ($family, $address, $port) = @_;
    my $packed = inet_pton($family, $address);
    return $family == AF_INET ? pack_sockaddr_in($port, $packed) : pack_sockaddr_in6($port, $packed);
}

# What an error says. An entry in the socket's queue of errors came by ICMP; a reset leaves none.
sub word_of {
    my ($probe, $error) = @_;
    my $by_icmp = defined recv($probe->{socket}, my $ignored, 1, MSG_ERRQUEUE | MSG_DONTWAIT);
    return 'withheld' if $error == EPERM || $error == EACCES && !$by_icmp;
    return 'dropped' if $error == ETIMEDOUT;
    if ($error == ECONNREFUSED) {
        return $by_icmp && $probe->{transport} eq 'tcp' ? 'rejected' : 'refused';
    }
    return $by_icmp ? 'rejected' : 'unroutable';
}

# Begins a probe by socket. Returns whether there is something to wait for.
sub begin {
    my ($probe) = @_;
    my ($family, $is_tcp) = ($probe->{family}, $probe->{transport} eq 'tcp');
    my $kind = $is_tcp ? SOCK_STREAM : SOCK_DGRAM;
    socket(my $socket, $family, $kind, 0) or do { report($probe, 's', 'failed'); return };
    $probe->{socket} = $socket;
    fcntl($socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK);
    my ($level, $name) = $family == AF_INET ? (IPPROTO_IP, $IP_RECVERR) : (IPPROTO_IPV6, $IPV6_RECVERR);
    setsockopt($socket, $level, $name, pack('i', 1));
    bind($socket, sockaddr($family, $probe->{source}, 0)) or do { report($probe, 's', 'no-address'); return };
    if (connect($socket, sockaddr($family, $probe->{destination}, $probe->{port}))) {
        if ($is_tcp) { report($probe, 's', 'connected'); return }
        return ask($probe);
    }
    return 1 if $! == EINPROGRESS;
    report($probe, 's', word_of($probe, $! + 0));
    return;
}

# Sends a datagram. Returns whether there is something to wait for.
sub ask {
    my ($probe) = @_;
    defined send($probe->{socket}, question($probe->{port}), 0) and return 1;
    return 1 if $! == EAGAIN || $! == ENOBUFS;
    report($probe, 's', word_of($probe, $! + 0));
    return;
}

# A socket that can be read or written: what has come?
sub look {
    my ($probe) = @_;
    if ($probe->{transport} eq 'tcp') {
        my $error = unpack 'i', getsockopt($probe->{socket}, SOL_SOCKET, SO_ERROR);
        report($probe, 's', $error == 0 ? 'connected' : word_of($probe, $error));
        return;
    }
    if (defined recv($probe->{socket}, my $answer, 512, MSG_DONTWAIT)) { report($probe, 's', 'answered'); return }
    return 1 if $! == EAGAIN;
    report($probe, 's', word_of($probe, $! + 0));
    return;
}

# ---- packets of our own

sub checksum {
    my ($bytes) = @_;
    $bytes .= "\0" if length($bytes) % 2;
    my $sum = unpack '%32n*', $bytes;
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return ~$sum & 0xffff;
}

sub packet {
    my ($probe, $flags, $sequence) = @_;
    my ($source, $destination) = map { inet_pton(AF_INET, $probe->{$_}) } qw(source destination);
    my ($protocol, $segment);
    if ($probe->{transport} eq 'tcp') {
        $protocol = 6;
        my @head = ($probe->{own_port}, $probe->{port}, $sequence, 0, 0x5000 | $flags, 64240);
        $segment = pack 'n2 N2 n4', @head, 0, 0;
        my $sum = checksum(pack('a4 a4 C2 n', $source, $destination, 0, 6, length $segment) . $segment);
        $segment = pack 'n2 N2 n4', @head, $sum, 0;
    } else {
        $protocol = 17;
        my $body = question($probe->{port});
        my $length = 8 + length $body;
        my $pseudo = pack 'a4 a4 C2 n', $source, $destination, 0, 17, $length;
        my $sum = checksum($pseudo . pack('n4', $probe->{own_port}, $probe->{port}, $length, 0) . $body) || 0xffff;
        $segment = pack('n4', $probe->{own_port}, $probe->{port}, $length, $sum) . $body;
    }
    my @head = (0x45, 0, 20 + length $segment, int(rand(65536)), 0x4000, 64, $protocol);
    my $sum = checksum(pack 'C2 n3 C2 n a4 a4', @head, 0, $source, $destination);
    return pack('C2 n3 C2 n a4 a4', @head, $sum, $source, $destination) . $segment;
}

sub hand_over {
    my ($cards, $probe, $flags, $sequence) = @_;
    my $hop = $probe->{hop};
    send($cards, packet($probe, $flags, $sequence), 0, link_address($hop->{card}{index}, $ETH_P_IP, $hop->{hardware}));
}

sub link_address {
    my ($index, $protocol, $hardware) = @_;
    return pack 'S n i S C C a8', $AF_PACKET, $protocol, $index, 1, 0, 6, $hardware;
}

sub first_line {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    my $line = <$file>;
    chomp $line if defined $line;
    return defined $line ? $line : '';
}

# Finds for each probe the card and the next hop, and asks all next hops for their hardware addresses at once.
sub find_ways {
    my @wanted = grep { $_->{family} == AF_INET } @_;
    return unless @wanted;
    my %pairs = map { ("$_->{destination} from $_->{source}" => 1) } @wanted;
    my ($routes, $pid) = ('');
    pipe(my $reader, my $writer) or return;
    defined($pid = fork) or return;
    if (!$pid) {
        close $reader;
        open STDOUT, '>&', $writer;
        open STDERR, '>', '/dev/null';
        open my $ip, '|-', 'ip', '-force', '-o', '-batch', '-' or exit 1;
        print $ip "route get $_\n" for sort keys %pairs;
        close $ip;
        exit 0;
    }
    close $writer;
    my %route;
    while (my $line = <$reader>) {
        my ($destination, $source) = $line =~ /^(?:\w+ )?([\d.]+) from ([\d.]+) / or next;
        my ($card) = $line =~ / dev (\S+)/ or next;
        my ($via) = $line =~ / via ([\d.]+)/;
        $route{"$destination from $source"} = [$card, defined $via ? $via : $destination];
    }
    waitpid $pid, 0;
    my %card;
    for my $line (`ip -o -4 addr show 2>/dev/null`) {
        my ($name, $address, $bits) = $line =~ /^\d+: (\S+)\s+inet ([\d.]+)\/(\d+)/ or next;
        push @{ $card{$name}{addresses} }, [unpack('N', inet_pton(AF_INET, $address)), $bits];
    }
    for my $name (keys %card) {
        # Only Ethernet has neighbours that are found like this.
        if (first_line("/sys/class/net/$name/type") ne '1') { delete $card{$name}; next }
        $card{$name}{index} = first_line("/sys/class/net/$name/ifindex");
        $card{$name}{hardware} = pack 'H12', first_line("/sys/class/net/$name/address") =~ tr/://dr;
    }
    my %hop;
    for my $probe (@wanted) {
        my $route = $route{"$probe->{destination} from $probe->{source}"} or next;
        my ($name, $next) = @$route;
        my $card = $card{$name} or next;
        my $address = unpack 'N', inet_pton(AF_INET, $next);
        my ($own) = grep { !(($_->[0] ^ $address) >> (32 - $_->[1])) } grep { $_->[1] } @{ $card->{addresses} };
        next unless $own;
        $probe->{hop} = $hop{"$name $next"} ||= { card => $card, next => $next, own => $own->[0] };
    }
    socket(my $arp, $AF_PACKET, SOCK_DGRAM, unpack 'S', pack 'n', $ETH_P_ARP) or return;
    my $until = now() + ($patience < 1 ? $patience : 1);
    my $again = 0;
    while ((my $left = $until - now()) > 0) {
        my @open = grep { !$_->{hardware} } values %hop or last;
        if (now() >= $again) {
            $again = now() + 0.3;
            for my $hop (@open) {
                my $card = $hop->{card};
                my $frame = pack 'n2 C2 n a6 N a6 a4', 1, $ETH_P_IP, 6, 4, 1, $card->{hardware}, $hop->{own}, '',
                    inet_pton(AF_INET, $hop->{next});
                send($arp, $frame, 0, link_address($card->{index}, $ETH_P_ARP, "\xff" x 6));
            }
        }
        my $ready = '';
        vec($ready, fileno $arp, 1) = 1;
        next unless select($ready, undef, undef, $left < 0.1 ? $left : 0.1) > 0;
        while (defined recv($arp, my $frame, 64, MSG_DONTWAIT)) {
            next if length $frame < 28;
            my ($operation, $hardware, $address) = unpack 'x6 n a6 a4', $frame;
            next unless $operation == 2;
            my $text = inet_ntop(AF_INET, $address);
            $_->{hardware} ||= $hardware for grep { $_->{next} eq $text } values %hop;
        }
    }
    for my $probe (@wanted) {
        my $hop = $probe->{hop} or next;
        $neighbours{ $hop->{next} } = $hop->{hardware} ? 'neighbour' : 'absent' if $hop->{next} eq $probe->{destination};
    }
}

# Hands the kernel a filter, so that of all that a busy host receives only what may be an answer comes here.
sub filtered {
    my ($socket) = @_;
    my @program = ([0x30, 0, 0, 9], [0x15, 6, 0, 1], [0x15, 1, 0, 6], [0x15, 0, 5, 17], [0xb1, 0, 0, 0], [0x48, 0, 0, 2],
        [0x35, 0, 2, $FIRST_PORT], [0x25, 1, 0, $LAST_PORT], [0x06, 0, 0, 0xffff], [0x06, 0, 0, 0]);
    my $code = join '', map { pack 'S C C L', @$_ } @program;
    return setsockopt($socket, SOL_SOCKET, $SO_ATTACH_FILTER, pack 'S x![P] P', scalar @program, $code);
}

# What a packet that came in says of a probe of ours.
sub hear {
    my ($cards, $bytes, $by_port) = @_;
    return if length $bytes < 28;
    my ($length, $protocol, $from) = (unpack('C', $bytes), unpack('x9 C', $bytes), unpack('x12 a4', $bytes));
    $length = ($length & 15) * 4;
    my $rest = substr $bytes, $length;
    if ($protocol == 1) {
        my ($type, $code) = unpack 'C2', $rest;
        return unless $type == 3 && length $rest >= 36;
        my $inner = substr $rest, 8;
        my ($inner_length, $inner_protocol) = ((unpack('C', $inner) & 15) * 4, unpack('x9 C', $inner));
        return unless length $inner >= $inner_length + 4;
        my ($own_port, $port) = unpack 'n2', substr $inner, $inner_length;
        my $probe = $by_port->{$own_port} or return;
        return unless $probe->{port} == $port && unpack('x16 a4', $inner) eq inet_pton(AF_INET, $probe->{destination});
        my $is_port = $code == 3 && $inner_protocol == 17;
        return report($probe, 'p', $is_port ? 'refused' : $code <= 1 ? 'unroutable' : 'rejected');
    }
    my ($port, $own_port) = unpack 'n2', $rest;
    my $probe = $by_port->{$own_port} or return;
    return unless $probe->{port} == $port && $from eq inet_pton(AF_INET, $probe->{destination});
    return report($probe, 'p', 'answered') if $protocol == 17;
    my $flags = length $rest >= 14 ? unpack('x13 C', $rest) : 0;
    report($probe, 'p', 'refused') if $flags & 4;
    return unless ($flags & 0x12) == 0x12;
    report($probe, 'p', 'connected');
    # A reset ends it, so that nothing is left waiting there.
    hand_over($cards, $probe, 4, unpack 'x8 N', $rest);
}

sub round {
    my @mine = @_;
    my @waiting = grep { $_->{ways} =~ /s/ && begin($_) } @mine;
    my (%by_port, $cards);
    if (my @packets = grep { $_->{ways} =~ /p/ } @mine) {
        if (!socket($cards, $AF_PACKET, SOCK_DGRAM, unpack 'S', pack 'n', $ETH_P_IP) || !filtered($cards)) {
            report($_, 'p', 'failed') for @packets;
            undef $cards;
        } else {
            for my $probe (@packets) {
                my $hop = $probe->{hop};
                if (!$hop || !$hop->{hardware}) { report($probe, 'p', $hop ? 'unroutable' : 'failed'); next }
                $next_port = $FIRST_PORT if ++$next_port > $LAST_PORT;
                $probe->{own_port} = $next_port;
                $probe->{sequence} = int(rand(2 ** 32));
                $by_port{ $probe->{own_port} } = $probe;
            }
        }
    }
    my $begun = now();
    my ($until, $again) = ($begun + $patience, $begun);
    my $is_first = 1;
    while ((my $left = $until - now()) > 0) {
        my @unheard = grep { !$_->{'told p'} } values %by_port;
        last unless @waiting || @unheard;
        if (defined $again && now() >= $again) {
            hand_over($cards, $_, 2, $_->{sequence}) for @unheard;
            # A datagram may be lost; TCP sees to that by itself.
            if (!$is_first) { $_->{transport} eq 'udp' && ask($_) for @waiting }
            $again = $is_first ? $begun + $patience / 2 : undef;
            $is_first = 0;
        }
        my ($readable, $writable) = ('', '');
        for my $probe (@waiting) {
            vec($probe->{transport} eq 'tcp' ? $writable : $readable, fileno $probe->{socket}, 1) = 1;
        }
        vec($readable, fileno $cards, 1) = 1 if $cards;
        my $found = select($readable, $writable, undef, $left < 0.25 ? $left : 0.25);
        next unless $found > 0;
        @waiting = grep {
            my $probe = $_;
            my $bits = $probe->{transport} eq 'tcp' ? $writable : $readable;
            my $goes_on = vec($bits, fileno $probe->{socket}, 1) ? look($probe) : !$probe->{'told s'};
            close $probe->{socket} unless $goes_on;
            $goes_on;
        } @waiting;
        if ($cards && vec($readable, fileno $cards, 1)) {
            while (defined recv($cards, my $bytes, 256, MSG_DONTWAIT)) { hear($cards, $bytes, \%by_port) }
        }
    }
    for my $probe (@mine) {
        close $probe->{socket} if $probe->{socket};
        for my $way (split //, $probe->{ways}) { report($probe, $way, 'silent') }
    }
}

find_ways(@probes);
while (my @next = splice @probes, 0, $at_once) { round(@next) }
print "$neighbours{$_} $_\n" for sort keys %neighbours;
print "end\n";
