<?php
/*
 * NfSen's page of dnsvigil: series with their baseline, top talkers, open findings.
 *
 * NfSen calls DnsVigil_ParseInput before it writes anything, and DnsVigil_Run where the page goes. All data come from
 * the backend plugin DnsVigil.pm through nfsend_query; its answers are the JSON of the collector's API, in pieces that
 * NfSen can carry. Names in them come off the wire: everything goes through DnsVigil_text before it is printed.
 * NfSen sends its pages as ISO-8859-1, so what is printed here is ASCII.
 */

const DNSVIGIL_HOURS = [6 => '6 hours', 24 => 'a day', 72 => '3 days', 168 => 'a week'];
const DNSVIGIL_MEASURES = [
    // Name in the API => what it is called here, and its unit: n counts, B bytes, % a ratio from 0 to 1.
    'flows' => ['flows', 'n'],
    'packets' => ['packets', 'n'],
    'bytes' => ['bytes', 'B'],
    'clients' => ['clients', 'n'],
    'query_packets' => ['query packets', 'n'],
    'query_bytes' => ['query bytes', 'B'],
    'response_bytes' => ['response bytes', 'B'],
    'tcp_ratio' => ['share of TCP', '%'],
];
const DNSVIGIL_ANOMALIES = [
    'spike' => 'spike',
    'drop' => 'drop',
    'shift_up' => 'lasting rise',
    'shift_down' => 'lasting fall',
    'threshold' => 'beyond its threshold',
];
const DNSVIGIL_SEVERITIES = ['critical', 'warning', 'info'];
const DNSVIGIL_UNUSUAL = 20;
const DNSVIGIL_FINDINGS = 50;
const DNSVIGIL_LONGEST = 300;
const DNSVIGIL_WEEK = 7 * 86400;

/** NfSen's call before any output: reads what was chosen, and asks the backend. */
function DnsVigil_ParseInput($plugin_id)
{
    $GLOBALS['DnsVigil_page'] = new DnsVigil_Page($plugin_id);
}

/** NfSen's call for the page itself. */
function DnsVigil_Run($plugin_id)
{
    $GLOBALS['DnsVigil_page']->show();
}

/** Untrusted text for a page: cut if it is too long, with no invisible characters and nothing but ASCII. */
function DnsVigil_text($value, int $longest = DNSVIGIL_LONGEST): string
{
    if (!is_string($value)) {
        $value = is_scalar($value) ? json_encode($value) : '';
    }
    $value = preg_match('//u', $value) ? $value : '(not UTF-8)';
    if (preg_match('/^(.{' . $longest . '})./su', $value, $found)) {
        $value = $found[1] . '...';
    }
    $named = fn(array $found) => sprintf('\u{%04X}', DnsVigil_code($found[0]));
    $value = preg_replace_callback('/[\p{C}\p{Zl}\p{Zp}]/u', $named, $value);
    $value = htmlspecialchars($value, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
    return preg_replace_callback('/[^\x00-\x7f]/u', fn(array $found) => '&#' . DnsVigil_code($found[0]) . ';', $value);
}

/** The code point of one UTF-8 character. */
function DnsVigil_code(string $character): int
{
    return unpack('N', iconv('UTF-8', 'UCS-4BE', $character))[1];
}

/** A number with a unit out of DNSVIGIL_MEASURES, as 1.23 M or 4.56 kB or 7.8 %. */
function DnsVigil_number(?float $value, string $unit): string
{
    if ($value === null) {
        return '-';
    }
    if ($unit === '%') {
        return sprintf('%.3g %%', 100 * $value);
    }
    $suffixes = ['', 'k', 'M', 'G', 'T', 'P'];
    $power = 0;
    while (abs($value) >= 999.5 && $power < 5) {
        $value /= 1000;
        $power++;
    }
    $number = sprintf('%.' . (abs($value) < 99.95 ? 3 : 4) . 'g', $value);
    return trim($number . ' ' . $suffixes[$power] . ($unit === 'B' ? 'B' : ''));
}

/** A time of the API (ISO 8601) in the time zone of NfSen's pages; anything else unchanged. */
function DnsVigil_time($value): string
{
    $time = is_string($value) ? strtotime($value) : false;
    return $time === false ? DnsVigil_text($value, 30) : date('Y-m-d H:i', $time);
}

/** The rows of a list in an answer, without anything that is not a row. */
function DnsVigil_rows($answer, ?string $key = null): array
{
    $list = $key === null ? $answer : (is_array($answer) ? $answer[$key] ?? null : null);
    return is_array($list) ? array_values(array_filter($list, 'is_array')) : [];
}

/** The number under this key of a row, or null. */
function DnsVigil_value(array $row, string $key): ?float
{
    $value = $row[$key] ?? null;
    return is_int($value) || is_float($value) ? (float) $value : null;
}

/** The text under this key of a row, or ''. */
function DnsVigil_string(array $row, string $key): string
{
    $value = $row[$key] ?? '';
    return is_string($value) ? $value : '';
}

/** The anomalies of a verdict or a point that have a name here, in words. */
function DnsVigil_anomalies(array $row): array
{
    $named = is_array($row['anomalies'] ?? null) ? array_filter($row['anomalies'], 'is_string') : [];
    return array_values(array_intersect_key(DNSVIGIL_ANOMALIES, array_flip($named)));
}

/** Asks the backend; an answer is the decoded JSON, or null with a message in $trouble. */
final class DnsVigil_Backend
{
    public array $trouble = [];

    public function ask(string $command, array $arguments = []): ?array
    {
        // NfSen cuts an argument at "=" and at blanks, so they travel percent-encoded.
        $answer = nfsend_query("DnsVigil::$command", array_map('rawurlencode', array_filter($arguments, 'strlen')));
        if (!is_array($answer)) {
            $this->trouble[] = "NfSen's backend does not answer DnsVigil::$command. Is the plugin loaded? nfsend logs this "
                . 'when it starts. Run "check-nfsen" on nfsen.conf to find the cause.';
            return null;
        }
        if (isset($answer['error'])) {
            $error = is_string($answer['error']) ? $answer['error'] : 'an error without a message';
            if (str_starts_with($error, '404 ')) {
                return [];  // the collector has nothing of that yet
            }
            $this->trouble[] = $error;
            return null;
        }
        $json = $answer['json'] ?? '';
        $decoded = json_decode(is_array($json) ? implode('', $json) : $json, true, 32, JSON_INVALID_UTF8_SUBSTITUTE);
        if (!is_array($decoded)) {
            $this->trouble[] = "the answer to DnsVigil::$command cannot be read: " . json_last_error_msg();
            return null;
        }
        return $decoded;
    }
}

/** What a series belongs to: a protocol and service, or a resolver, of an exporter. */
final class DnsVigil_Series
{
    public function __construct(
        public readonly string $exporter,
        public readonly string $protocol,
        public readonly string $service,
        public readonly string $resolver,
    ) {
    }

    public static function of(array $row): self
    {
        $parts = ['exporter', 'protocol', 'service', 'resolver'];
        return new self(...array_map(fn(string $part) => DnsVigil_string($row, $part), $parts));
    }

    /** Its name, which is unique within its exporter. */
    public function name(): string
    {
        return $this->resolver !== '' ? "resolver $this->resolver" : "$this->service over $this->protocol";
    }

    public function arguments(): array
    {
        if ($this->resolver !== '') {
            return ['exporter' => $this->exporter, 'resolver' => $this->resolver];
        }
        return ['exporter' => $this->exporter, 'protocol' => $this->protocol, 'service' => $this->service];
    }
}

/** The page: what was chosen, and the answers for it. */
final class DnsVigil_Page
{
    private DnsVigil_Backend $backend;
    private array $verdicts;
    private array $exporters = [];
    private array $names = [];
    private array $measures = [];
    private array $choice = ['exporter' => '', 'series' => '', 'measure' => '', 'hours' => '24'];
    private ?DnsVigil_Series $series = null;
    private ?array $answer = null;
    private ?array $talkers = null;
    private ?array $findings = null;
    private string $slot;

    public function __construct(private $plugin_id)
    {
        $this->backend = new DnsVigil_Backend();
        $newest = $this->backend->ask('verdicts');
        $this->verdicts = DnsVigil_rows($newest, 'verdicts');
        $this->slot = DnsVigil_string($newest ?? [], 'slot');
        // After one failure, each further request would only wait for its timeout.
        if ($newest === null) {
            return;
        }
        $this->choose();
        if ($this->series !== null) {
            $wanted = ['measure' => $this->choice['measure'], 'hours' => $this->choice['hours']];
            $this->answer = $this->backend->ask('series', $this->series->arguments() + $wanted);
            $this->talkers = $this->backend->ask('talkers', ['exporter' => $this->choice['exporter']]);
        }
        $this->findings = $this->backend->ask('findings');
    }

    /** Selects the requested series, else the last one shown, else the most unusual one; only existing ones. */
    private function choose(): void
    {
        $kept = $_SESSION['DnsVigil'] ?? null;
        foreach ($this->choice as $key => $default) {
            $asked = $_GET["dnsvigil_$key"] ?? (is_array($kept) ? $kept[$key] ?? $default : $default);
            $this->choice[$key] = is_string($asked) ? $asked : $default;
        }
        if (!isset(DNSVIGIL_HOURS[$this->choice['hours']])) {
            $this->choice['hours'] = '24';
        }
        $tree = [];
        foreach ($this->verdicts as $verdict) {
            $series = DnsVigil_Series::of($verdict);
            $tree[$series->exporter][$series->name()][DnsVigil_string($verdict, 'measure')] = $series;
        }
        if (!$tree) {
            return;
        }
        $first = $this->unusual()[0] ?? null;
        foreach ($this->verdicts as $verdict) {
            $dns = DnsVigil_string($verdict, 'service') === 'dns' && DnsVigil_string($verdict, 'protocol') === 'udp';
            $first ??= $dns && DnsVigil_string($verdict, 'measure') === 'packets' ? $verdict : null;
        }
        $first ??= $this->verdicts[0];
        $of = DnsVigil_Series::of($first);
        $exporter = self::one($this->choice['exporter'], $tree, $of->exporter);
        $name = self::one($this->choice['series'], $tree[$exporter], $of->name());
        $measure = self::one($this->choice['measure'], $tree[$exporter][$name], DnsVigil_string($first, 'measure'));
        $this->series = $tree[$exporter][$name][$measure];
        $this->choice = ['exporter' => $exporter, 'series' => $name, 'measure' => $measure] + $this->choice;
        $_SESSION['DnsVigil'] = $this->choice;
        // PHP makes numbers of array keys that look like numbers; names stay names.
        $this->exporters = array_map('strval', array_keys($tree));
        $this->names = array_map('strval', array_keys($tree[$exporter]));
        $this->measures = array_map('strval', array_keys($tree[$exporter][$name]));
        sort($this->exporters);
        sort($this->names);
    }

    private static function one(string $wanted, array $there, string $usual): string
    {
        foreach ([$wanted, $usual] as $name) {
            if (isset($there[$name])) {
                return $name;
            }
        }
        return (string) array_key_first($there);
    }

    /** The verdicts with an anomaly, the largest deviation first. */
    private function unusual(): array
    {
        $unusual = array_values(array_filter($this->verdicts, 'DnsVigil_anomalies'));
        $far = fn(array $verdict) => abs(DnsVigil_value($verdict, 'deviation') ?? 0.0);
        usort($unusual, fn(array $one, array $other) => $far($other) <=> $far($one));
        return $unusual;
    }

    public function show(): void
    {
        print "<div class=\"dnsvigil\">\n" . self::STYLE;
        foreach (array_unique($this->backend->trouble) as $text) {
            print '<p class="trouble">No data: ' . DnsVigil_text($text, 600) . "</p>\n";
        }
        if ($this->series !== null) {
            $this->showForm();
            $this->showSeries();
            $this->showUnusual();
            $this->showTalkers();
        } elseif (!$this->backend->trouble) {
            print '<p>No series yet: the collector has not evaluated a slot of five minutes. It does so when the first '
                . "file that NfSen submits is complete.</p>\n";
        }
        if ($this->findings !== null) {
            $this->showFindings();
        }
        print '<p class="small">Times are in ' . DnsVigil_text(date_default_timezone_get()) . ' ('
            . date('T, \U\T\CP') . '). Every value covers five minutes; "slot" is their start. Page generated '
            . date('Y-m-d H:i:s') . ".</p>\n</div>\n";
    }

    private function address(array $choice): string
    {
        $query = $this->place();
        foreach ($choice + $this->choice as $key => $value) {
            $query["dnsvigil_$key"] = $value;
        }
        return DnsVigil_text($_SERVER['SCRIPT_NAME'] . '?' . http_build_query($query), 4000);
    }

    /** Where NfSen shows this page. */
    private function place(): array
    {
        return ['tab' => (string) ($_SESSION['tab'] ?? ''), 'sub_tab' => (string) $this->plugin_id];
    }

    private function showForm(): void
    {
        $measures = [];
        foreach ($this->measures as $measure) {
            $measures[$measure] = DNSVIGIL_MEASURES[$measure][0] ?? $measure;
        }
        $fields = [
            ['exporter', 'Exporter', array_combine($this->exporters, $this->exporters)],
            ['series', 'Series', array_combine($this->names, $this->names)],
            ['measure', 'Measure', $measures],
            ['hours', 'Span', DNSVIGIL_HOURS],
        ];
        print '<form method="get" action="' . DnsVigil_text($_SERVER['SCRIPT_NAME'], 1000) . "\">\n<p>";
        foreach ($this->place() as $field => $value) {
            print "<input type=\"hidden\" name=\"$field\" value=\"" . DnsVigil_text($value) . "\" />\n";
        }
        foreach ($fields as [$field, $title, $options]) {
            print "<label>$title <select name=\"dnsvigil_$field\">\n";
            foreach ($options as $value => $label) {
                $selected = (string) $value === $this->choice[$field] ? ' selected="selected"' : '';
                print '<option value="' . DnsVigil_text((string) $value, 4000) . "\"$selected>"
                    . DnsVigil_text((string) $label, 60) . "</option>\n";
            }
            print "</select></label>\n";
        }
        print "<input type=\"submit\" value=\"Show\" /></p>\n</form>\n";
    }

    private function showSeries(): void
    {
        $measure = $this->choice['measure'];
        [$called, $unit] = DNSVIGIL_MEASURES[$measure] ?? [$measure, 'n'];
        print '<h3>' . DnsVigil_text($this->series->exporter, 100) . ': ' . DnsVigil_text($this->series->name(), 100)
            . ', ' . DnsVigil_text($called, 60) . "</h3>\n";
        foreach ($this->verdicts as $verdict) {
            if (DnsVigil_Series::of($verdict) == $this->series && DnsVigil_string($verdict, 'measure') === $measure) {
                print '<p>' . self::verdict($verdict, $this->slot, $unit) . "</p>\n";
            }
        }
        $points = [];
        foreach (DnsVigil_rows($this->answer, 'series') as $series) {
            if (DnsVigil_Series::of($series) == $this->series && DnsVigil_string($series, 'measure') === $measure) {
                $points = DnsVigil_rows($series, 'points');
            }
        }
        if ($this->answer === null) {
            return;
        }
        if (!$points) {
            print "<p>No values in this span.</p>\n";
            return;
        }
        $seconds = DnsVigil_value($this->answer, 'slot_seconds') ?: 300.0;
        $chart = new DnsVigil_Chart($points, (int) $seconds, 3600 * (int) $this->choice['hours'], $unit);
        print $chart->svg("$called in five minutes" . ($unit === '%' ? ' (%)' : '')) . '<p class="small">'
            . '<span class="value">&#9644;</span> measured, <span class="baseline">&#9644;</span> baseline: the '
            . 'usual value at this time of the day and week, <span class="anomaly">&#9679;</span> unusual. A gap in the '
            . "line is a time without flows from this exporter.</p>\n";
    }

    private static function verdict(array $verdict, string $slot, string $unit): string
    {
        $text = 'Slot ' . DnsVigil_time($verdict['slot'] ?? $slot) . ': '
            . DnsVigil_number(DnsVigil_value($verdict, 'value'), $unit);
        $history = DnsVigil_value($verdict, 'history_seconds') ?? 0.0;
        $deviation = DnsVigil_value($verdict, 'deviation');
        $baseline = DnsVigil_value($verdict, 'baseline');
        if ($baseline !== null) {
            $text .= ', usual ' . DnsVigil_number($baseline, $unit);
            $spread = DnsVigil_value($verdict, 'spread');
            $text .= $spread === null ? '' : ' &#177; ' . DnsVigil_number($spread, $unit);
        }
        if ($deviation !== null) {
            $text .= sprintf(', %+.1f spreads from it', $deviation);
        }
        if ($history < DNSVIGIL_WEEK) {
            $text .= sprintf('. Still learning: there are %.1f days of history, and two days of this kind are needed', $history / 86400);
        }
        $anomalies = DnsVigil_anomalies($verdict);
        return $text . ($anomalies ? '. <b class="anomaly">' . implode(', ', $anomalies) . '</b>' : '.');
    }

    private function showUnusual(): void
    {
        $unusual = $this->unusual();
        print '<h3>Unusual in the newest slot' . ($this->slot === '' ? '' : ', ' . DnsVigil_time($this->slot)) . "</h3>\n";
        if (!$unusual) {
            print '<p>Nothing: none of ' . count($this->verdicts) . " series deviates; some may still be learning.</p>\n";
            return;
        }
        print '<table><tr><th>Exporter</th><th>Series</th><th>Measure</th><th>What</th><th class="number">Value</th>'
            . '<th class="number">Usual</th><th class="number">Deviation (spreads)</th></tr>' . "\n";
        foreach (array_slice($unusual, 0, DNSVIGIL_UNUSUAL) as $verdict) {
            $series = DnsVigil_Series::of($verdict);
            $measure = DnsVigil_string($verdict, 'measure');
            [$called, $unit] = DNSVIGIL_MEASURES[$measure] ?? [$measure, 'n'];
            $deviation = DnsVigil_value($verdict, 'deviation');
            $choice = ['exporter' => $series->exporter, 'series' => $series->name(), 'measure' => $measure];
            print '<tr><td>' . DnsVigil_text($series->exporter, 60) . '</td><td><a href="' . $this->address($choice)
                . '">' . DnsVigil_text($series->name(), 60) . '</a></td><td>' . DnsVigil_text($called, 60)
                . '</td><td class="anomaly">' . implode(', ', DnsVigil_anomalies($verdict)) . '</td><td class="number">'
                . DnsVigil_number(DnsVigil_value($verdict, 'value'), $unit) . '</td><td class="number">'
                . DnsVigil_number(DnsVigil_value($verdict, 'baseline'), $unit) . '</td><td class="number">'
                . ($deviation === null ? '-' : sprintf('%+.1f', $deviation)) . "</td></tr>\n";
        }
        print "</table>\n";
        if (count($unusual) > DNSVIGIL_UNUSUAL) {
            print '<p class="small">' . (count($unusual) - DNSVIGIL_UNUSUAL) . " more are not shown.</p>\n";
        }
    }

    private function showTalkers(): void
    {
        if ($this->talkers === null) {
            return;
        }
        $slot = DnsVigil_string($this->talkers, 'slot');
        print '<h3>Top talkers of ' . DnsVigil_text($this->choice['exporter'], 100)
            . ($slot === '' ? '' : ' in the slot ' . DnsVigil_time($slot)) . "</h3>\n<div class=\"side\">\n";
        foreach (['srcip' => 'Sources', 'dstip' => 'Destinations'] as $element => $title) {
            $its = fn(array $talker) => DnsVigil_string($talker, 'element') === $element
                && DnsVigil_string($talker, 'exporter') === $this->choice['exporter'];
            $talkers = array_values(array_filter(DnsVigil_rows($this->talkers, 'talkers'), $its));
            $bytes = fn(array $talker) => DnsVigil_value($talker, 'bytes') ?? 0.0;
            usort($talkers, fn(array $one, array $other) => $bytes($other) <=> $bytes($one));
            print "<table><tr><th>$title</th><th class=\"number\">Bytes</th><th class=\"number\">Packets</th>"
                . "<th class=\"number\">Flows</th></tr>\n";
            foreach ($talkers as $talker) {
                print '<tr><td>' . DnsVigil_text(DnsVigil_string($talker, 'talker'), 60) . '</td>';
                foreach (['bytes' => 'B', 'packets' => 'n', 'flows' => 'n'] as $what => $unit) {
                    print '<td class="number">' . DnsVigil_number(DnsVigil_value($talker, $what), $unit) . '</td>';
                }
                print "</tr>\n";
            }
            print ($talkers ? '' : '<tr><td colspan="4">none</td></tr>') . "</table>\n";
        }
        print "</div>\n";
    }

    private function showFindings(): void
    {
        $findings = DnsVigil_rows($this->findings);
        $rank = fn(array $finding) => array_search($finding['severity'] ?? null, DNSVIGIL_SEVERITIES, true);
        $order = fn(array $finding) => [
            $rank($finding) === false ? count(DNSVIGIL_SEVERITIES) : $rank($finding),
            -(strtotime(DnsVigil_string($finding, 'last_seen')) ?: 0),
        ];
        usort($findings, fn(array $one, array $other) => $order($one) <=> $order($other));
        print '<h3>Open findings (' . count($findings) . ")</h3>\n";
        if (!$findings) {
            print "<p>None.</p>\n";
            return;
        }
        print '<table><tr><th>Severity</th><th>Detector</th><th>Subject</th><th class="number">Score</th><th>First seen</th>'
            . '<th>Last seen</th><th class="number">Times</th><th>Evidence</th></tr>' . "\n";
        foreach (array_slice($findings, 0, DNSVIGIL_FINDINGS) as $finding) {
            $severity = $rank($finding) === false ? '' : $finding['severity'];
            $score = DnsVigil_value($finding, 'score');
            print "<tr><td class=\"$severity\">" . DnsVigil_text($finding['severity'] ?? '', 20) . '</td><td>'
                . DnsVigil_text($finding['detector'] ?? '', 60) . '</td><td>'
                . DnsVigil_text($finding['subject_type'] ?? '', 20) . ' <b>' . DnsVigil_text($finding['subject'] ?? '')
                . '</b></td><td class="number">' . ($score === null ? '-' : sprintf('%.2f', $score)) . '</td><td>'
                . DnsVigil_time($finding['first_seen'] ?? '') . '</td><td>' . DnsVigil_time($finding['last_seen'] ?? '')
                . '</td><td class="number">' . DnsVigil_text($finding['count'] ?? '', 20) . '</td><td>'
                . self::evidence($finding['evidence'] ?? null) . "</td></tr>\n";
        }
        print "</table>\n";
        if (count($findings) > DNSVIGIL_FINDINGS) {
            print '<p class="small">' . (count($findings) - DNSVIGIL_FINDINGS)
                . " more are not shown; \"dnsvigil findings\" lists all.</p>\n";
        }
    }

    private static function evidence($evidence): string
    {
        $parts = [];
        foreach (is_array($evidence) ? $evidence : [] as $name => $value) {
            $flags = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PARTIAL_OUTPUT_ON_ERROR;
            $value = is_array($value) ? (string) json_encode($value, $flags) : $value;
            $parts[] = '<span class="key">' . DnsVigil_text((string) $name, 60) . '</span> ' . DnsVigil_text($value);
        }
        $hidden = count($parts) - 12;
        return implode('<br />', array_slice($parts, 0, 12)) . ($hidden > 0 ? "<br />and $hidden more" : '');
    }

    private const STYLE = <<<'CSS'
        <style type="text/css">
        .dnsvigil { font-family: Verdana, sans-serif; font-size: 12px; color: #2d2b2b; margin: 10px 20px; max-width: 1100px; }
        .dnsvigil h3 { font-size: 14px; margin: 20px 0 6px; overflow-wrap: anywhere; }
        .dnsvigil label { margin-right: 12px; white-space: nowrap; }
        .dnsvigil select { max-width: 22em; }
        .dnsvigil table { border-collapse: collapse; font-size: 12px; }
        .dnsvigil th { background-color: #eeeeee; text-align: left; white-space: nowrap; }
        .dnsvigil th, .dnsvigil td { border: 1px solid #cccccc; padding: 3px 7px; vertical-align: top; overflow-wrap: anywhere; }
        .dnsvigil th.number, .dnsvigil td.number { text-align: right; white-space: nowrap; }
        .dnsvigil .side table { display: inline-table; margin-right: 24px; vertical-align: top; min-width: 30em; }
        .dnsvigil .small, .dnsvigil .key { color: #666666; }
        .dnsvigil .small { font-size: 11px; }
        .dnsvigil .trouble { background-color: #ffcb20; padding: 6px 10px; overflow-wrap: anywhere; }
        .dnsvigil .value { color: #1f4fa0; }
        .dnsvigil .baseline { color: #e88a00; }
        .dnsvigil .anomaly, .dnsvigil .critical { color: #cc0011; }
        .dnsvigil .warning { color: #b35900; }
        .dnsvigil svg { display: block; width: 100%; height: auto; }
        </style>

        CSS;
}

/** A series drawn as SVG: its values, its baseline, its anomalies, against the time. */
final class DnsVigil_Chart
{
    private const WIDTH = 1000;
    private const HEIGHT = 300;
    private const LEFT = 80;
    private const RIGHT = 20;
    private const TOP = 14;
    private const BOTTOM = 44;
    private const MOST_LABELS = 12;

    private int $begin;
    private int $end;
    private float $top = 0.0;
    private array $points = [];

    /** Points as the API gives them; the slot's length and the span to show in seconds. */
    public function __construct(array $points, private int $slot_seconds, int $span, private string $unit)
    {
        foreach ($points as $point) {
            $time = strtotime(DnsVigil_string($point, 'slot'));
            if ($time !== false) {
                $this->points[$time] = [
                    'value' => DnsVigil_value($point, 'value'),
                    'baseline' => DnsVigil_value($point, 'baseline'),
                    'anomalies' => DnsVigil_anomalies($point),
                ];
            }
        }
        ksort($this->points);
        $this->end = (int) (array_key_last($this->points) ?? time()) + $slot_seconds;
        $this->begin = $this->end - $span;
        foreach ($this->points as $time => $point) {
            if ($time >= $this->begin) {
                $this->top = max($this->top, $point['value'] ?? 0.0, $point['baseline'] ?? 0.0);
            }
        }
        $this->top = $this->top > 0 ? $this->top * 1.05 : 1.0;
    }

    /** The drawing; $axis is the label of the vertical axis. */
    public function svg(string $axis): string
    {
        $right = self::WIDTH - self::RIGHT;
        $bottom = self::HEIGHT - self::BOTTOM;
        $axis = DnsVigil_text($axis);
        $drawn = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ' . self::WIDTH . ' ' . self::HEIGHT
            . "\" role=\"img\" aria-label=\"$axis against the time\" font-family=\"Verdana, sans-serif\" font-size=\"11\">\n";
        foreach ($this->heights() as $height) {
            $y = $this->y($height);
            $drawn .= "<path d=\"M" . self::LEFT . " {$y}H$right\" stroke=\"#e4e4e4\" /><text x=\"" . (self::LEFT - 6)
                . "\" y=\"" . ($y + 4) . "\" text-anchor=\"end\">" . DnsVigil_number($height, $this->unit) . "</text>\n";
        }
        foreach ($this->times() as $time => $label) {
            $x = $this->x($time);
            $drawn .= "<path d=\"M$x " . self::TOP . "V$bottom\" stroke=\"#e4e4e4\" /><text x=\"$x\" y=\"" . ($bottom + 15)
                . "\" text-anchor=\"middle\">$label</text>\n";
        }
        $drawn .= '<path d="M' . self::LEFT . ' ' . self::TOP . "V{$bottom}H$right\" fill=\"none\" stroke=\"#888888\" />\n"
            . "<text transform=\"translate(14 " . (self::TOP + $bottom) / 2 . ") rotate(-90)\" text-anchor=\"middle\">$axis</text>"
            . "<text x=\"" . (self::LEFT + $right) / 2 . "\" y=\"" . ($bottom + 34) . "\" text-anchor=\"middle\">time ("
            . DnsVigil_text(date('T', $this->end)) . ")</text>\n"
            . '<path class="value" d="' . $this->line('value')
            . "\" fill=\"none\" stroke=\"#1f4fa0\" stroke-width=\"1.5\" stroke-linecap=\"round\" />\n"
            . '<path class="baseline" d="' . $this->line('baseline')
            . "\" fill=\"none\" stroke=\"#e88a00\" stroke-width=\"1.2\" />\n";
        foreach ($this->points as $time => $point) {
            if ($point['anomalies'] && $point['value'] !== null && $time >= $this->begin) {
                $drawn .= '<circle cx="' . $this->x($time) . '" cy="' . $this->y($point['value']) . '" r="4" fill="#cc0011">'
                    . '<title>' . date('Y-m-d H:i', $time) . ': ' . DnsVigil_number($point['value'], $this->unit) . ', usual '
                    . DnsVigil_number($point['baseline'], $this->unit) . ', ' . implode(', ', $point['anomalies'])
                    . "</title></circle>\n";
            }
        }
        return "$drawn</svg>\n";
    }

    private function x(int $time): float
    {
        $width = self::WIDTH - self::LEFT - self::RIGHT;
        return round(self::LEFT + $width * ($time - $this->begin) / ($this->end - $this->begin), 1);
    }

    private function y(float $value): float
    {
        $bottom = self::HEIGHT - self::BOTTOM;
        return round($bottom - ($bottom - self::TOP) * max($value, 0.0) / $this->top, 1);
    }

    /** The path of one of the two lines; it breaks where a slot is missing or has no value. */
    private function line(string $which): string
    {
        $path = '';
        $last = null;
        foreach ($this->points as $time => $point) {
            if ($point[$which] === null || $time < $this->begin) {
                continue;
            }
            $joined = $last !== null && $time - $last <= $this->slot_seconds;
            // A move alone draws nothing, so a lone point gets a line to itself.
            $path .= ($joined ? 'L' : 'M') . $this->x($time) . ' ' . $this->y($point[$which]) . ($joined ? '' : 'h0');
            $last = $time;
        }
        return $path;
    }

    /** Up to ten round values from 0 to the top. */
    private function heights(): array
    {
        $step = 10 ** floor(log10($this->top));
        foreach ([5, 4, 2, 1] as $part) {
            if ($this->top / $step * $part <= 10) {
                break;
            }
        }
        return range(0, $this->top, $step / $part);
    }

    /** Unix times of whole hours, as many as there is room for, with their labels. */
    private function times(): array
    {
        foreach ([1, 2, 3, 6, 12, 24] as $hours) {
            if (($this->end - $this->begin) / 3600 / $hours <= self::MOST_LABELS) {
                break;
            }
        }
        $times = [];
        // Steps of 15 minutes, as there are time zones and clock changes that are not of whole hours.
        for ($time = $this->begin + (900 - $this->begin % 900) % 900; $time < $this->end; $time += 900) {
            [$hour, $minute] = array_map('intval', explode(' ', date('G i', $time)));
            if ($minute === 0 && $hour % $hours === 0) {
                $times[$time] = date($hour === 0 ? 'D j M' : 'H:i', $time);
            }
        }
        return $times;
    }
}
