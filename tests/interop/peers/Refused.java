// A Java program at one end of mutual TLS that says what it saw, one line per connection.
//
//   java Refused.java client FOLDER PORT VERSION/CREDENTIAL/BYTES/TIMES...
//       connects TIMES times, sends BYTES bytes each from a second thread, and reads until the
//       verdict
//   java Refused.java server FOLDER VERSION/CREDENTIAL...
//       listens once per case ("port<TAB>CASE<TAB>PORT") and echoes, until it is killed
//
// Each line is "saw<TAB>CASE<TAB>TEXT": "echoed N", "end of file", or the exception, in Java's own
// words. FOLDER holds CREDENTIAL.p12 (password "secret"), servers.crt and clients.crt (anchors).
// All cases share one virtual machine: starting it takes longer than all of them.

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Refused {
    private static final int TIMEOUT = 20_000; // milliseconds; against a hang only

    private final Path folder;
    private final String anchors;
    private final Map<String, SSLContext> contexts = new HashMap<>();

    private Refused(Path folder, String anchors) {
        this.folder = folder;
        this.anchors = anchors;
    }

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[1]);
        if (args[0].equals("client")) {
            Refused peer = new Refused(folder, "servers.crt");
            int port = Integer.parseInt(args[2]);
            for (String name : Arrays.copyOfRange(args, 3, args.length)) {
                String[] parts = name.split("/");
                SSLContext context = peer.context(parts[1]);
                byte[] data = data(Integer.parseInt(parts[2]));
                for (int i = 0; i < Integer.parseInt(parts[3]); i++) {
                    say("saw", name, connect(context, port, parts[0], data));
                }
            }
        } else {
            Refused peer = new Refused(folder, "clients.crt");
            for (String name : Arrays.copyOfRange(args, 2, args.length)) {
                String[] parts = name.split("/");
                SSLServerSocket listener = (SSLServerSocket) peer.context(parts[1])
                    .getServerSocketFactory()
                    .createServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
                listener.setNeedClientAuth(true);
                listener.setEnabledProtocols(new String[] {parts[0]});
                new Thread(() -> serve(listener, name)).start();
                say("port", name, Integer.toString(listener.getLocalPort()));
            }
        }
    }

    private static String connect(SSLContext context, int port, String version, byte[] data)
            throws Exception {
        Socket tcp = new Socket("127.0.0.1", port);
        tcp.setSoTimeout(TIMEOUT);
        // Java writes its last flight in pieces, and Nagle's algorithm would hold each back for
        // the 40 ms of a delayed acknowledgement: no matter here, but time.
        tcp.setTcpNoDelay(true);
        Thread writer = null;
        try (SSLSocket socket =
                (SSLSocket) context.getSocketFactory().createSocket(tcp, "localhost", port, true)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setProtocols(new String[] {version});
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            OutputStream out = socket.getOutputStream();
            writer = new Thread(() -> {
                try {
                    out.write(data);
                } catch (IOException error) {
                    // The reader meets the same end, and its exception is the verdict.
                }
            });
            writer.start();
            byte[] buffer = new byte[65536];
            int echoed = 0;
            int count;
            while ((count = socket.getInputStream().read(buffer)) > 0) {
                echoed += count;
                if (echoed >= data.length) return "echoed " + echoed;
            }
            return "end of file";
        } catch (IOException error) {
            return error.toString();
        } finally {
            if (writer != null) writer.join(TIMEOUT);
        }
    }

    private static void serve(SSLServerSocket listener, String name) {
        while (true) {
            try (SSLSocket socket = (SSLSocket) listener.accept()) {
                socket.setSoTimeout(TIMEOUT);
                socket.startHandshake();
                byte[] buffer = new byte[65536];
                int echoed = 0;
                int count;
                while ((count = socket.getInputStream().read(buffer)) > 0) {
                    socket.getOutputStream().write(buffer, 0, count);
                    echoed += count;
                }
                say("saw", name, "echoed " + echoed);
            } catch (IOException error) {
                say("saw", name, error.toString());
            }
        }
    }

    private SSLContext context(String credential) throws Exception {
        SSLContext known = contexts.get(credential);
        if (known != null) return known;
        KeyStore trust = KeyStore.getInstance("PKCS12");
        trust.load(null, null);
        try (InputStream in = Files.newInputStream(folder.resolve(anchors))) {
            trust.setCertificateEntry(
                "root", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory verifiers = TrustManagerFactory.getInstance("PKIX");
        verifiers.init(trust);
        KeyManager[] own = null;
        if (!credential.equals("none")) {
            KeyStore keys = KeyStore.getInstance("PKCS12");
            char[] password = "secret".toCharArray();
            try (InputStream in = Files.newInputStream(folder.resolve(credential + ".p12"))) {
                keys.load(in, password);
            }
            KeyManagerFactory managers = KeyManagerFactory.getInstance("SunX509");
            managers.init(keys, password);
            own = managers.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(own, verifiers.getTrustManagers(), null);
        contexts.put(credential, context);
        return context;
    }

    private static byte[] data(int length) {
        byte[] line = "hello\n".getBytes();
        byte[] data = new byte[length];
        for (int i = 0; i < length; i++) data[i] = line[i % line.length];
        return data;
    }

    private static synchronized void say(String kind, String name, String text) {
        System.out.println(kind + "\t" + name + "\t" + text.replace('\n', ' '));
        System.out.flush();
    }
}
