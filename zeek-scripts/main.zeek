##! What the parts of dnsvigil share: which traffic is DNS of the unicast kind, what this node is called, and the
##! counts of what the caps refused.

@load base/frameworks/cluster
@load base/protocols/dns

module DNSVigil;

export {
	## DNS-like traffic that has no resolver: NetBIOS names, multicast DNS and LLMNR. Left out of every log but
	## dns.log.
	option ignored_ports: set[port] = {
		137/udp,
		5353/udp,
		5355/udp
	};

	## The name of this node in the column *node* of every log.
	global node = "standalone";

	## Whether this process sees packets: a worker of a cluster, or a Zeek that runs alone.
	global sees_packets = T;

	## State that the hard caps refused or forced out early since the last row of dnsvigil_capture.log.
	global dropped_pdns = 0;
	global dropped_open_resolver = 0;
	global dropped_poisoning = 0;

	## The mnemonics of record types; "TYPE" and the number where there is none (RFC 3597).
	global type_names: table[count] of string = table() &default=function(
	    number: count): string
		{
		return fmt("TYPE%d", number);
		};

	## Whether a weird of Zeek's says that a DNS message is malformed, rather than that Zeek does not know a type or
	## an operation, or advises against a key or an algorithm.
	global is_malformed: function(weird: string): bool;
}

function is_malformed(weird: string): bool
	{
	return weird == /E?DNS_.*/
	    && weird != /DNS_RR_unknown_type|DNS_unknown_opcode|EDNS_TCP_Keepalive_In_UDP/;
	}

event zeek_init() &priority=20
	{
	for ( number, name in DNS::query_types )
		type_names[number] = name;
	}

event zeek_init() &priority=10
	{
	if ( ! Cluster::is_enabled() )
		return;

	node = Cluster::node;
	sees_packets = Cluster::local_node_type() == Cluster::WORKER;
	}
