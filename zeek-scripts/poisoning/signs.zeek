##! The signs of cache poisoning: what stands out in an answer, in fragments and in ICMP messages is
##! counted for the zone or the resolver.

@load ./answers

module DNSVigilPoisoning;

const port_unreachable = 3;
const port_unreachable_ipv6 = 4;

# By resolver and zone.
global nxdomains: table[addr, string] of count &create_expire=log_interval;

# Remembers the server's TTL for the zone, and returns whether it stands out.
function ttl_jumps(): bool
	{
	if ( answer$ttl == 0sec )
		return F;

	if ( [answer$server, answer$zone] !in served )
		{
		if ( answer$verdict != "right" )
			return F;

		if ( |served| >= max_servers )
			{
			++DNSVigil::dropped_poisoning;
			return F;
			}

		served[answer$server, answer$zone] = Served();
		}

	local known = served[answer$server, answer$zone];
	local jumps = known$answers >= 8 && answer$ttl > 2 * known$ttl;

	if ( answer$verdict == "right" )
		{
		++known$answers;

		if ( answer$ttl > known$ttl )
			known$ttl = answer$ttl;
		}

	return jumps;
	}

# Whether a right answer contradicts an earlier one to the same question.
function conflicts(): bool
	{
	local question = answer$question;
	++question$answers;

	if ( question$answers == 1 )
		question$first_content = answer$content;

	return question$answers > question$sent
	    && answer$content != question$first_content;
	}

# Returns the number of NXDOMAIN answers in the zone not counted yet, once they are a storm.
function storm(): count
	{
	if ( [answer$resolver, answer$zone] !in nxdomains )
		{
		if ( |nxdomains| >= max_nxdomain_zones )
			{
			++DNSVigil::dropped_poisoning;
			return 0;
			}

		nxdomains[answer$resolver, answer$zone] = 0;
		}

	local names = ++nxdomains[answer$resolver, answer$zone];
	return names > storm_names ? 1 : ( names == storm_names ? storm_names : 0 );
	}

# Whether name servers replace all those that were seen before.
function replaces_ns(state: State): bool
	{
	if ( ! answer?$ns || answer$ns_owner != answer$zone )
		return F;

	if ( ! state?$ns )
		{
		state$ns = answer$ns;
		return F;
		}

	return |state$ns & answer$ns| == 0;
	}

function add_samples(info: Info)
	{
	local known = F;

	if ( |info$sample_names| < max_samples_of_row )
		{
		for ( _, name in info$sample_names )
			known = known || name == answer$name;

		if ( ! known )
			info$sample_names += answer$name;
		}

	for ( _, text in answer$records )
		{
		known = F;

		for ( _, kept in info$sample_records )
			known = known || kept == text;

		if ( ! known && |info$sample_records| < max_samples_of_row )
			info$sample_records += text;
		}

	if ( |info$sample_servers| == max_samples_of_row )
		return;

	known = F;

	for ( _, server in info$sample_servers )
		known = known || server == answer$server;

	if ( ! known )
		info$sample_servers += answer$server;
	}

# Compares the answer with earlier ones, and returns whether it has any sign of an attack.
function find_signs(): bool
	{
	local right = answer$verdict == "right";
	answer$ttl_jump = ttl_jumps();
	answer$conflict = right && conflicts();
	answer$storm = right && answer$rcode == 3 ? storm() : 0;
	return ! right
	    || answer$ttl_jump
	    || answer$conflict
	    || answer$storm > 0
	    || answer$out_of_bailiwick
	    || answer$fragment
	    || answer$hops_jump;
	}

# Counts that the answer matches no query, and returns the weight of that.
function count_mismatch(info: Info): count
	{
	if ( answer$verdict == "right" )
		return 0;

	if ( answer$verdict == "unsolicited" )
		{
		++info$unsolicited;
		return unsure;
		}

	if ( answer$verdict == "wrong_id" )
		++info$wrong_id;
	else
		++info$wrong_port;

	return sure;
	}

# Counts the other signs, and returns their weight.
function count_signs(state: State): count
	{
	local info = state$info;
	local weight = answer$storm;
	info$nxdomain_storm += answer$storm;

	if ( answer$conflict )
		{
		++info$conflicting_answers;
		weight += sure;
		}

	if ( answer$out_of_bailiwick )
		{
		++info$out_of_bailiwick;
		weight += sure;
		}

	if ( answer?$ns && answer$verdict != "right" || replaces_ns(state) )
		{
		++info$forged_ns;
		weight += unsure;
		}

	if ( answer$fragment )
		{
		++info$first_fragments;
		weight += sure;
		}

	if ( answer$ttl_jump )
		{
		++info$ttl_jumps;
		weight += unsure;
		}

	if ( answer$hops_jump )
		{
		++info$ip_ttl_jumps;
		weight += unsure;
		}

	return weight;
	}

# Compares wrong answers with right ones, and raises the Notice. Only a zone's own state has both.
function compare_guesses(state: State)
	{
	if ( answer$verdict !in set("wrong_id", "wrong_port") || ! state$info?$zone )
		return;

	++state$wrong;

	if ( state$wrong >= guesses && state$wrong > 2 * state$right )
		NOTICE(Notice::Info($note=DNSVigil::Poisoning_Guessing, $msg=fmt(
		    "%d answers for %s had a wrong id or port, %d were right",
		    state$wrong, answer$zone, state$right), $sub=answer$name,
		    $src=answer$server, $dst=answer$resolver, $identifier=cat(
		    answer$resolver, answer$zone), $suppress_for=1hr));
	}

# Counts the answer, and its signs.
function count_answer()
	{
	local right = answer$verdict == "right";
	local unsolicited = answer$verdict == "unsolicited";
	local whole = resolver_state(answer$resolver)$info;
	++whole$responses;
	mark_time(whole);

	local odd = find_signs();
	local watched = [answer$resolver, answer$zone] in states;

	if ( unsolicited && network_time() < questions_missing )
		return;

	if ( ! odd && ! watched )
		return;

	# Messages that anybody can send at any time must not take up memory.
	local state = unsolicited && ! watched ? resolver_state(answer$resolver) :
	    zone_state(answer$resolver, answer$zone);
	local info = state$info;

	if ( info?$zone )
		{
		++info$responses;

		# The query that was sent before the first sign in the zone.
		if ( ! watched && ! unsolicited )
			++info$queries;
		}

	if ( right )
		++state$right;
	else if ( |state$sources| < 100 )
		add state$sources[answer$server];

	local weight = count_mismatch(info) + count_signs(state);

	if ( odd )
		add_samples(info);

	compare_guesses(state);
	weigh(state, weight);
	}

event dns_end(c: connection, msg: dns_msg)
	{
	if ( ! reading )
		return;

	reading = F;
	count_answer();
	}

# Fragments that contradict each other, or stand alone, never make a message.
event flow_weird(name: string, src: addr, dst: addr, addl: string,
    source: string)
	{
	if ( /^fragment_|_fragment$/ !in name || ! is_resolver(dst) )
		return;

	local state = resolver_state(dst);
	++state$info$first_fragments;
	++state$info$odd_fragments;
	weigh(state, sure);
	}

event icmp_unreachable(c: connection, info: icmp_info, code: count,
    context: icmp_context)
	{
	if ( code != ( info$v6 ? port_unreachable_ipv6 : port_unreachable )
	    || ! is_udp_port(context$id$resp_p) )
		return;

	if ( ! is_resolver(c$id$orig_h) )
		return;

	local state = resolver_state(c$id$orig_h);
	++state$info$icmp_unreachable;
	weigh(state, unsure);
	}
