@load ./main
@load ./dns-log
@load ./pdns
@load ./capture
@load ./open-resolver
@load ./poisoning
