# @TEST-DOC: In a cluster each worker logs what it saw under its name, what is left at its end too, and nobody else does.
# @TEST-PORT: MANAGER_PORT
# @TEST-PORT: WORKER1_PORT
# @TEST-PORT: WORKER2_PORT
# @TEST-EXEC: zeek --help 2>&1 | sed -n 's/.*$ZEEKPATH .*(\(.*\))/\1/p' >zeekpath
# @TEST-EXEC: btest-bg-run manager CLUSTER_NODE=manager ZEEKPATH=$(cat zeekpath):.. zeek -C $PACKAGE %INPUT
# @TEST-EXEC: btest-bg-run worker-1 CLUSTER_NODE=worker-1 ZEEKPATH=$(cat zeekpath):.. zeek -C -r $TRACES/rows.pcap $PACKAGE %INPUT
# @TEST-EXEC: btest-bg-run worker-2 CLUSTER_NODE=worker-2 ZEEKPATH=$(cat zeekpath):.. zeek -C -r $TRACES/unasked.pcap $PACKAGE %INPUT
# @TEST-EXEC: btest-bg-wait 60
# @TEST-EXEC: columns manager/dnsvigil_pdns.log node rrname rrtype rdata section count | sort >tuples
# @TEST-EXEC: btest-diff tuples
# @TEST-EXEC: columns manager/dnsvigil_capture.log node dns_queries dns_responses unmatched_queries unmatched_responses malformed | sort >capture
# @TEST-EXEC: btest-diff capture
# @TEST-EXEC-FAIL: grep -E 'ERROR|WARNING' manager/reporter.log

# @TEST-START-FILE cluster-layout.zeek
redef Cluster::nodes = {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=to_port(getenv("MANAGER_PORT"))],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p=to_port(getenv("WORKER1_PORT")), $manager="manager"],
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p=to_port(getenv("WORKER2_PORT")), $manager="manager"],
};
redef Cluster::manager_is_logger = T;
# @TEST-END-FILE

redef exit_only_after_terminate = T;
redef DNSVigilCapture::log_interval = 1day;
redef Log::default_rotation_interval = 0sec;

global workers = 0;

event zeek_init()
	{
	if ( Cluster::local_node_type() == Cluster::WORKER )
		suspend_processing();
	}

event Cluster::node_up(name: string, id: string)
	{
	if ( Cluster::local_node_type() == Cluster::WORKER && name == "manager" )
		continue_processing();
	}

event Pcap::file_done(path: string)
	{
	terminate();
	}

event finished()
	{
	terminate();
	}

event Cluster::node_down(name: string, id: string)
	{
	++workers;

	if ( Cluster::node == "manager" && workers == 2 )
		schedule 1sec { finished() };
	}
