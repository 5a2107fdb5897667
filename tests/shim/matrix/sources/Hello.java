// SPDX-License-Identifier: Apache-2.0
import java.io.*;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.*;

class Hello {
	public static void main(String[] args) throws IOException {
		try (FileWriter writer = new FileWriter("java.out")) {
			writer.write("hello\n");
		}
		Files.createDirectories(Path.of("java/deep"));
		Files.move(Path.of("java.out"), Path.of("java/deep/out"));
		Files.copy(Path.of("java/deep/out"), Path.of("java/copy"));
		Files.createSymbolicLink(Path.of("java/link"), Path.of("copy"));
		Files.setLastModifiedTime(Path.of("java/copy"),
			java.nio.file.attribute.FileTime.fromMillis(1000));
		try (RandomAccessFile file = new RandomAccessFile("java/mapped", "rw")) {
			file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 4096).put((byte)1);
		}
		FileChannel channel = FileChannel.open(Path.of("java/kept"),
			StandardOpenOption.CREATE, StandardOpenOption.WRITE);
		channel.write(ByteBuffer.wrap("kept\n".getBytes()));
		Runtime.getRuntime().halt(0);
	}
}
