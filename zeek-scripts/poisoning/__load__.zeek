##! Looks for cache poisoning between a resolver and the servers that it queries. The script counts,
##! by resolver and zone: guessed ids and ports, second answers, unsolicited answers, records out of
##! bailiwick, storms of names that do not exist, fragments, port scans and unusual TTLs. It raises
##! a Notice only for what is certain.

@load ./log
@load ./queries
@load ./answers
@load ./signs
