<?php
// What NfSen's nfsen.php and nfsenutil.php do around a frontend plugin, for tests: the session, the order of the calls,
// the messages, and nfsend_query, which answers from the file that the environment names.

error_reporting(E_ALL);
ini_set('display_errors', '1');
ini_set('html_errors', '0');
session_start();

const ANSWERS = 'NFSEN_ANSWERS';

function SetMessage($type, $message)
{
    $_SESSION[$type][] = htmlspecialchars($message);
}

// An answer of false is what NfSen gives where the backend is not there or says ERR.
function nfsend_query($command, $arguments)
{
    $folder = getenv(ANSWERS);
    foreach ($arguments as $name => $value) {
        // As Nfcomm::ArgDecode takes them apart.
        if (!is_string($value) || !preg_match('/^[\w.]{3,}$/', $name) || preg_match('/[=\s]/', $value)) {
            throw new ValueError("NfSen cannot carry $name=$value");
        }
    }
    $asked = json_encode(['command' => $command, 'arguments' => (object) $arguments]);
    file_put_contents("$folder/asked", "$asked\n", FILE_APPEND);
    $answers = json_decode(file_get_contents("$folder/answers.json"), true);
    $answer = $answers[$command] ?? false;
    if ($answer === false) {
        SetMessage('error', "nfsend: Plugin 'DnsVigil' unknown");
    }
    return $answer;
}

$_SESSION['tab'] = 5;
include getenv('NFSEN_PLUGIN');
DnsVigil_ParseInput(0, 'live');
header('Content-type: text/html; charset=ISO-8859-1');
print "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01 Transitional//EN\">\n<html><head><title>NFSEN</title></head><body>\n";
foreach ($_SESSION['error'] ?? [] as $message) {
    print "<h3 class='errstring'>ERROR: $message!</h3>\n";
}
unset($_SESSION['error']);
DnsVigil_Run(0, 'live');
print "</body></html>\n";
