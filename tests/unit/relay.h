/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in for ssh and breaks off: passes SFTP packets on to a real sftp-server, and after
 * a given number of requests kills who sent them, or ends.
 *
 *   relay_main(file)    for the program that is run instead of ssh.  file has two words: how many
 *                       requests, INIT counts, and "kill" or "end"; without a file, no end.
 *
 * $RELAY_DENY: requests that the server is not to know (its -P).
 * The server has carried out just so many requests by then, and the file is removed: the next
 * connection goes through.
 */
#pragma once

int relay_main(const char *file);
