<?php
// A receiver for webhooks. Start it with the signing secret of the webhook:
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:3000 index.php
//
// Without a secret it goes by the token that you entered at the webhook, WEBHOOK_TOKEN=my-token.

$body = file_get_contents('php://input');
if (!known($body)) {
    answer(401, 'text/plain', 'the signature or the token does not match');
} elseif (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) !== '/webhook') {
    answer(404, 'text/plain', '/webhook');
} elseif ($_SERVER['REQUEST_METHOD'] === 'GET') { // verification: the answer is the challenge, nothing else
    answer(200, 'text/plain', asked('challenge'));
} else {
    call($_SERVER['HTTP_WEBHOOK_ID'] ?? '', $body);
}

function asked(string $name): string
{
    return is_string($_GET[$name] ?? null) ? $_GET[$name] : '';
}

function answer(int $status, string $type, string $text): void
{
    http_response_code($status);
    header("Content-Type: $type; charset=utf-8");
    header('X-Content-Type-Options: nosniff');
    echo $text;
}

// Signed with our secret: the bytes as they came, because JSON that was read and written anew is
// another text. Or with our token, which is compared in constant time.
function known(string $body): bool
{
    $secret = getenv('WEBHOOK_SECRET') ?: '';
    if ($secret === '') {
        return hash_equals(getenv('WEBHOOK_TOKEN') ?: '', asked('token'));
    }
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $at = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (abs(time() - (int) $at) > 300) {
        return false; // an old request, kept by somebody and sent again
    }
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $wanted = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $one) {
        if (hash_equals($wanted, $one)) {
            return true;
        }
    }
    return false;
}

// A call may come twice, with the same webhook-id: it is worked on once. The answers to what has been
// worked on stand in files. In earnest: a table with a unique column, written in the same
// transaction as the work.
function call(string $id, string $body): void
{
    $folder = sys_get_temp_dir() . '/webhooks-done';
    @mkdir($folder, 0700);
    $file = "$folder/" . hash('sha256', $id);
    if ($id === '' || !is_file($file)) {
        try {
            $said = json_encode(work(json_decode($body, flags: JSON_THROW_ON_ERROR)));
        } catch (JsonException $reason) {
            answer(400, 'text/plain', 'the body is no JSON');
            return;
        }
        file_put_contents($file, $said); // only now: what failed is sent again, and must be worked on then
        error_log("worked on $id");
    }
    answer(200, 'application/json', file_get_contents($file));
}

// The first generation of interactions holds `result`, the present one does not; the body of a
// delivery is any JSON: an object, a list, a text, a number, null.
function work(mixed $body): array
{
    if (is_object($body) && property_exists($body, 'result')) {
        $name = text($body, 'result', 'parameters', 'name');
        return [
            'responses' => [['type' => 'text', 'elements' => ["Hello $name"]]],
            'parameters' => ['greeted' => 'yes'],
        ];
    }
    $name = text($body, 'userAttributes', 'default_name');
    return [
        'responses' => [['type' => 'text', 'delay' => 1000, 'message' => "Hello $name"]],
        'attributes' => ['greeted' => 'yes'],
    ];
}

// The text at the end of a path of keys; "you" where the body has another shape.
function text(mixed $value, string ...$path): string
{
    foreach ($path as $key) {
        $value = is_object($value) ? ($value->{$key} ?? null) : null;
    }
    return is_string($value) && $value !== '' ? $value : 'you';
}
